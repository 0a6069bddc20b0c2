"""Turns one delivered image into a row of the annotations: reads, decodes and measures it, and binarises its mask."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models import names
from models.errors import UnreadableImage
from models.images import codec, descriptors, near_duplicates
from models.vocabulary import Split
from pipelines import part_names
from pipelines.ingest import statements
from pipelines.ingest.corrections import MASK_ERROR
from pipelines.ingest.deliveries import Delivery, Source

SUFFIXES = {"PNG": "png", "JPEG": "jpg", "TIFF": "tif", "BMP": "bmp", "WEBP": "webp"}  # by content, not by file name
MASK_THRESHOLD = 127  # of 255; masks saved as JPEG or drawn with soft brushes have grey edges
DIGITS = 6  # of a descriptor, rounded so that the same image gives the same row and snapshot on every machine
AHEAD = 64  # deliveries that are decoded ahead; bounds the memory


@dataclass(frozen=True)
class Described:
    """`fingerprint` is int8 [32, 32], None if the bytes are not an image. `alone` means that no part was stated."""

    row: dict[str, Any]
    data: bytes
    mask: bytes | None
    fingerprint: np.ndarray | None
    alone: bool
    problem: str | None = None  # why the image is quarantined


def described(source: Source, line: str) -> Iterator[Described]:
    """Yield the deliveries in their order, decoded on all cores with bounded memory (Pillow and NumPy release the GIL)."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        waiting: deque[Future[Described]] = deque()
        try:
            for delivery in source.deliveries:
                waiting.append(pool.submit(describe, delivery, source.name, line))
                if len(waiting) >= AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def describe(delivery: Delivery, source: str, line: str) -> Described:
    described = _described(delivery, source, line)
    size = None if "width_px" not in described.row else (described.row["width_px"], described.row["height_px"])
    wrong = statements.problem(delivery, size)
    if wrong is None:
        return described
    return replace(described, row=_shown(described.row), problem=wrong)


def _shown(value: Any) -> Any:
    """Return the row with unprintable characters escaped, so that it can be shown and stored."""
    if isinstance(value, dict):
        return {name: _shown(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return names.shown(value) if isinstance(value, str) else value


def _described(delivery: Delivery, source: str, line: str) -> Described:
    data = delivery.read()
    sha = hashlib.sha256(data).hexdigest()
    part = delivery.part or part_names.unstated(sha)
    # Images with an official split are not grouped, because a near duplicate could change their split.
    alone = part == part_names.unstated(sha) and delivery.split is None
    row: dict[str, Any] = {
        "image": sha,
        "file": f"images/{sha[:2]}/{sha}.bin",
        "line": line,
        "part": part,
        "slice": delivery.slice,
        "split": Split.TRAIN.value if delivery.synthetic else delivery.split,
        "split_stated": delivery.synthetic or _states_split(delivery),
        "label": delivery.label,
        "defect_types": list(delivery.defect_types),
        "defect_probability": delivery.defect_probability,
        "labelled_by": delivery.labelled_by,
        "labelled_at": delivery.labelled_at,
        "source": source,
        "source_path": delivery.name,
        "licence": delivery.licence,
        "accepted_by": delivery.accepted_by,
        "accepted_at": delivery.accepted_at,
        "synthetic": delivery.synthetic,
        "size_bytes": len(data),
    }
    try:
        pixels, facts = codec.decode_with_facts(data)
    except UnreadableImage as error:
        row["decode_error"] = error.message
        return Described(row, data, None, None, alone)
    looks = {name: round(value, DIGITS) for name, value in descriptors.describe(pixels).items()}
    row |= vars(facts) | looks | {"file": f"images/{sha[:2]}/{sha}.{SUFFIXES[facts.format]}"}
    if delivery.boxes is not None:
        row["boxes"] = [vars(box) for box in delivery.boxes]
    fingerprint = near_duplicates.fingerprint(pixels)
    if delivery.mask is None:
        return Described(row, data, None, fingerprint, alone)
    try:
        mask = _binary(delivery.mask(), facts)
    except UnreadableImage as error:
        row["decode_error"] = f"{MASK_ERROR}{error.message}"
        return Described(row, data, None, None, alone)
    named = hashlib.sha256(mask).hexdigest()
    row["mask"] = f"masks/{named[:2]}/{named}.png"
    return Described(row, data, mask, fingerprint, alone)


def _states_split(delivery: Delivery) -> bool:
    return delivery.split is not None if delivery.split_stated is None else delivery.split_stated


def _binary(data: bytes, facts: codec.ImageFacts) -> bytes:
    """Return the mask as PNG with values 0 and 255. Raises UnreadableImage if its size differs from the image's."""
    decoded = codec.decode(data)
    if decoded.shape[:2] != (facts.height_px, facts.width_px):
        raise UnreadableImage(
            f"it has {decoded.shape[1]}×{decoded.shape[0]} px, the image {facts.width_px}×{facts.height_px}."
        )
    bright = codec.to_rgb8(decoded).max(axis=2) > MASK_THRESHOLD
    return codec.encode_png(bright.astype(np.uint8) * 255)
