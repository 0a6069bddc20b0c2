"""Inspect production images with the champion: store, judge, commit to the ledger, and only then answer."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from models import descriptors, images
from models.errors import BadData, BadInput, NotReady
from models.runtime import Detector
from models.vocabulary import Prediction
from pipelines.adapters import model_registry
from pipelines.image_store import ImageStore, open_store
from pipelines.ingest.folder import image_files
from pipelines.ledger import inspections
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Inspection, Rejection, now
from pipelines.workspace import Workspace

BLOCK = 64  # inspections of a replay that are committed together
WORKERS = 2


@dataclass(frozen=True)
class Production:
    """One image as it comes off the line. `request_id` is the line's own: a repeated one is not inspected again."""

    read: Callable[[], bytes]
    part: str
    request_id: str
    slice: str | None = None
    captured_at: datetime | None = None


@dataclass(frozen=True)
class Inspected:
    """A committed inspection and the whole prediction behind it."""

    record: Inspection
    prediction: Prediction


@dataclass(frozen=True)
class ReplayReport:
    inspected: int
    already_known: int
    rejected: int
    verdicts: dict[str, int]  # of what this replay inspected


class Inspector:
    """A detector, a store and a ledger. `refresh` follows the champion; between two calls the model never changes."""

    def __init__(self, workspace: Workspace, *, threads: int | None = None) -> None:
        self.workspace = workspace
        self.line = workspace.params().line
        self.threads = threads
        self.store: ImageStore = open_store(workspace.store_url)
        self.detector, self.version = self._load()
        self.ledger = Ledger.open(workspace.ledger_url)

    def __enter__(self) -> Inspector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ledger.__exit__(kind, error, trace)

    def refresh(self) -> bool:
        """Switch to the present champion; True when it is another one."""
        champion = model_registry.champion(self.workspace, self.line)
        if champion is None or champion.version == self.version:
            return False
        self.detector, self.version = self._load()
        return True

    def inspect(self, item: Production, source: str) -> Inspected:
        """One verdict. Raises BadInput for an image that can't be judged: it is kept, with the reason, as a rejection."""
        judged = self._judge(item, source)
        if isinstance(judged, Rejection):
            if not inspections.known(self.ledger, self.line, [item.request_id]):
                inspections.add(self.ledger, [judged])
            raise BadInput(f"Part {item.part}: {judged.reason}", next_step="Take the picture again.")
        inspections.add(self.ledger, [judged.record])
        return judged

    def inspect_many(self, items: Sequence[Production], source: str) -> list[Inspected | Rejection]:
        """All of them on every core, committed in one transaction."""
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="inspect") as pool:
            judged = list(pool.map(lambda item: self._judge(item, source), items))
        return inspections.add_new(self.ledger, judged, lambda e: e if isinstance(e, Rejection) else e.record)

    def _load(self) -> tuple[Detector, str]:
        champion = model_registry.champion(self.workspace, self.line)
        if champion is None:
            raise NotReady(f"Line {self.line} has no champion yet.", next_step="Train one: defectloop train")
        return Detector(model_registry.download(self.workspace, champion), self.threads), champion.version

    def _judge(self, item: Production, source: str) -> Inspected | Rejection:
        started = time.perf_counter()
        data = item.read()
        key = self.store.put(data)
        try:
            image = images.decode(data)
            prediction = self.detector.predict(image)
        except BadInput as error:
            return Rejection(
                request_id=item.request_id,
                line=self.line,
                part=item.part,
                source=source,
                image=key,
                reason=error.message,
                rejected_at=now(),
            )
        described = descriptors.of_inspection(image, prediction)
        record = Inspection(
            request_id=item.request_id,
            line=self.line,
            part=item.part,
            slice=item.slice,
            source=source,
            image=key,
            captured_at=item.captured_at,
            inspected_at=now(),
            model_version=self.version,
            artefact_sha256=self.detector.sha256,
            score=prediction.score,
            raw_score=prediction.raw_score,
            verdict=self.detector.verdict(prediction.score).value,
            latency_ms=round((time.perf_counter() - started) * 1000, 3),
            descriptors=described,
            regions=[asdict(region) for region in prediction.regions],
        )
        return Inspected(record, prediction)


@contextlib.contextmanager
def open_inspector(workspace: Workspace, *, threads: int | None = None) -> Iterator[Inspector]:
    with Inspector(workspace, threads=threads) as inspector:
        yield inspector


def inspect_file(inspector: Inspector, path: Path, *, part: str | None, slice: str | None, heatmaps: Path) -> dict:
    """Inspect one file; what `defectloop inspect` prints. The picture with the heatmap goes into the folder `heatmaps`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadData(f"{path} can't be read: {error.strerror}.", next_step="Check the path.") from error
    item = Production(read=lambda: data, part=part or path.stem, request_id=str(uuid4()), slice=slice)
    judged = inspector.inspect(item, source="command line")
    record = judged.record
    heatmaps.mkdir(parents=True, exist_ok=True)
    picture = heatmaps / f"{path.stem}-{record.id}.png"
    shown = images.overlay(images.decode(data), judged.prediction.heatmap)
    picture.write_bytes(images.encode_png(shown))
    return {
        "image": str(path),
        "part": record.part,
        "verdict": record.verdict,
        "score": round(record.score, 4),
        "regions": record.regions,
        "heatmap": str(picture),
        "model_version": record.model_version,
        "latency_ms": record.latency_ms,
        "inspection": record.id,
    }


def replay_folder(workspace: Workspace, folder: Path, *, slice: str | None = None) -> ReplayReport:
    """Inspect every image below `folder` in the order of their names. Done again, it adds nothing."""
    if not folder.is_dir():
        raise BadData(f"{folder} is no folder.", next_step="defectloop replay FOLDER")
    source = folder.resolve().as_posix()
    items = [
        Production(
            read=path.read_bytes,
            part=path.stem,
            request_id=f"{source}/{path.relative_to(folder).as_posix()}",
            slice=slice,
        )
        for path in image_files(folder)
    ]
    return replay(workspace, items, source)


def replay(workspace: Workspace, items: Iterable[Production], source: str) -> ReplayReport:
    """Inspect what the ledger does not know yet, a block at a time; killed half way, the committed blocks stay."""
    verdicts: Counter[str] = Counter()
    known = rejected = 0
    with open_inspector(workspace, threads=1) as inspector:
        remaining = iter(items)
        while block := list(islice(remaining, BLOCK)):
            there = inspections.known(inspector.ledger, inspector.line, [item.request_id for item in block])
            known += len(there)
            for judged in inspector.inspect_many([item for item in block if item.request_id not in there], source):
                if isinstance(judged, Rejection):
                    rejected += 1
                else:
                    verdicts[judged.record.verdict] += 1
    return ReplayReport(sum(verdicts.values()), known, rejected, dict(sorted(verdicts.items())))
