"""From the bytes of one request to the record of its verdict. Pure: neither ledger nor image store is touched."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from urllib.parse import urlencode

import numpy as np

from models.detector.runtime import Detector
from models.errors import BadInput
from models.images import codec, descriptors
from models.vocabulary import Prediction
from pipelines import part_names
from pipelines.ledger import inspections
from pipelines.ledger.tables import Inspection, Rejection, now

Decoded = tuple[np.ndarray, Mapping[str, float]]  # pixels H×W×C, and `descriptors.of_pixels` of them


@dataclass(frozen=True)
class Production:
    """One production image, with what the line states about it.

    `part` and `view` are set only if they are stated (`pipelines.part_names`). `request_id` is the line's id of the request;
    a repeated request is not inspected again. Without it, the image's hash and the stated part and view identify the
    request. File names do not, because they may be reused for other images.
    """

    read: Callable[[], bytes]
    part: str | None = None
    request_id: str | None = None
    slice: str | None = None
    captured_at: datetime | None = None
    view: str | None = None
    file_name: str | None = None


@dataclass(frozen=True)
class Arrived:
    """An image that was read, with its hash, part and request id."""

    item: Production
    data: bytes
    image: str  # SHA-256 of the bytes
    part: str
    request_id: str


@dataclass(frozen=True)
class Inspected:
    """A stored inspection and its prediction, which is None if the request had been answered before."""

    record: Inspection
    prediction: Prediction | None

    @property
    def repeated(self) -> bool:
        return self.prediction is None


@dataclass(frozen=True)
class Rejected:
    """An image that could not be inspected; it is stored with the reason. `repeated`: it had been rejected before."""

    record: Rejection
    repeated: bool


@dataclass(frozen=True)
class Conflict:
    """A request whose id was used for another image or part before. Nothing was inspected or stored."""

    request_id: str
    reason: str


Answer = Inspected | Rejected | Conflict


@dataclass(frozen=True)
class Judge:
    """A version of the line's detector that gives verdicts. `detector` uses one core; `on_all_cores`, if there is one, gives
    exactly the same predictions."""

    line: str
    detector: Detector
    version: str
    on_all_cores: Detector | None = None

    def with_all_cores(self) -> Judge:
        return replace(self, detector=self.on_all_cores) if self.on_all_cores else self


def arrive(item: Production) -> Arrived:
    """Read the image and determine its part and request id."""
    data = item.read()
    image = hashlib.sha256(data).hexdigest()
    stated = {"part": item.part, "view": item.view}
    stated_names = urlencode({name: value for name, value in stated.items() if value})
    own = f"sha256:{image}" + (f"?{stated_names}" if stated_names else "")
    return Arrived(item, data, image, item.part or part_names.unstated(image), item.request_id or own)


def conflict(one: Arrived, record: inspections.Record) -> str | None:
    """Return why the stored record contradicts this request, or None. Missing information is no contradiction."""
    if record.image != one.image:
        return f"Request {one.request_id} was for another image ({record.image[:16]}, part {record.part})."
    if one.item.part and one.item.part != record.part:
        return f"Request {one.request_id} was for part {record.part}, not for part {one.item.part}."
    if isinstance(record, Inspection) and one.item.view and one.item.view != record.view:
        return f"Request {one.request_id} was for view {record.view}, not for view {one.item.view}."
    return None


def answer(one: Arrived, stored: inspections.Record, prediction: Prediction | None, *, first: bool) -> Answer:
    """Return the answer to a request whose record is stored. `first`: by this request, not by an earlier one."""
    if reason := conflict(one, stored):
        return Conflict(one.request_id, reason)
    if isinstance(stored, Rejection):
        return Rejected(stored, repeated=not first)
    return Inspected(stored, prediction if first else None)


def decode(data: bytes) -> Decoded:
    """Decode and describe an image in this process. Raises UnreadableImage."""
    pixels = codec.decode(data)
    return pixels, descriptors.of_pixels(pixels)


def judge(
    one: Arrived, by: Judge, source: str, decode: Callable[[bytes], Decoded] = decode
) -> tuple[inspections.Record, Prediction | None]:
    """Return the record of the verdict and its prediction; for an image that cannot be decoded, a rejection and None."""
    started = time.perf_counter()
    try:
        image, described = decode(one.data)
        prediction = by.detector.predict(image)
    except BadInput as error:
        return rejection(one, by.line, source, error.message), None
    point = by.detector.metadata.operating_point
    record = Inspection(
        request_id=one.request_id,
        line=by.line,
        part=one.part,
        view=one.item.view,
        file_name=one.item.file_name,
        slice=one.item.slice,
        source=source,
        image=one.image,
        captured_at=one.item.captured_at,
        inspected_at=now(),
        model_version=by.version,
        artefact_sha256=by.detector.sha256,
        score=prediction.score,
        raw_score=prediction.raw_score,
        verdict=by.detector.verdict(prediction.score).value,
        latency_ms=round((time.perf_counter() - started) * 1000, 3),
        descriptors=descriptors.with_prediction(described, prediction),
        regions=[asdict(region) for region in prediction.regions],
        class_probabilities=prediction.class_probabilities,
        pass_below=point.pass_below,
        fail_from=point.fail_from,
    )
    return record, prediction


def rejection(one: Arrived, line: str, source: str, reason: str) -> Rejection:
    return Rejection(
        request_id=one.request_id,
        line=line,
        part=one.part,
        source=source,
        image=one.image,
        reason=reason,
        rejected_at=now(),
        file_name=one.item.file_name,
        view=one.item.view,
    )
