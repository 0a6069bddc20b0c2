"""Inspects production images with the champion. An answer is given only after the inspection is stored in the ledger."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from models import names
from models.detector.runtime import Detector
from models.errors import BadData, BadInput
from models.files import read_file
from models.vocabulary import Prediction, Verdict
from pipelines import part_names, progress
from pipelines.image_files import deleted_images
from pipelines.image_files.image_store import ImageStore, open_store
from pipelines.ingest import delivery_folder
from pipelines.inspection import champion_on_disk, heatmaps, judging
from pipelines.inspection.judging import Answer, Arrived, Conflict, Inspected, Production, Rejected
from pipelines.ledger import inspections, part_verdicts
from pipelines.ledger.ledger import Ledger
from pipelines.part_names import PartPattern
from pipelines.workspace import Workspace

log = logging.getLogger(__name__)

BLOCK = 64  # inspections of a replay that are committed together
WORKERS = 2


@dataclass(frozen=True)
class ReplayReport:
    """Counts of a replay. `verdicts` counts the verdicts on the parts of which an image was inspected."""

    inspected: int
    already_known: int
    copies: int  # byte-identical copies of an earlier image in this replay, without another stated part or view
    rejected: int
    verdicts: dict[str, int]
    linked_folders: tuple[str, ...] = ()  # links to folders, which are not followed


class Inspector:
    """The champion with image store and ledger. The model changes only when `refresh` is called."""

    def __init__(self, workspace: Workspace, *, threads: int | None = None) -> None:
        self.workspace = workspace
        self.line = workspace.params().line
        self.threads = threads
        self.store: ImageStore = open_store(workspace.store_url)
        champion = champion_on_disk.load(workspace, self.line)
        champion_on_disk.warn_if_unconfirmed(champion)
        self.detector, self.version = Detector(champion.path, threads), champion.version
        self.ledger = Ledger.open(workspace.ledger_url)

    def __enter__(self) -> Inspector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ledger.__exit__(kind, error, trace)

    def refresh(self) -> bool:
        """Switch to the present champion. Returns whether it changed. Keeps the model if the registry does not answer."""
        champion = champion_on_disk.load(self.workspace, self.line)
        champion_on_disk.warn_if_unconfirmed(champion)
        if champion.version == self.version:
            return False
        self.detector, self.version = Detector(champion.path, self.threads), champion.version
        return True

    def inspect(self, item: Production, source: str) -> Inspected:
        """Inspect one image. A repeated request returns the stored inspection.

        Raises BadInput for an image that cannot be decoded, which is stored as a rejection, and for a request id that was
        used for another image or part.
        """
        [answer] = self._answers([item], source, map)
        if isinstance(answer, Conflict):
            raise BadInput(answer.reason, next_step="Use a unique id for every request.")
        if isinstance(answer, Rejected):
            raise BadInput(f"Part {answer.record.part}: {answer.record.reason}", next_step="Take the picture again.")
        return answer

    def inspect_many(self, items: Sequence[Production], source: str) -> list[Answer]:
        """Inspect several images in parallel and store them in one transaction. Returns the answers in their order."""
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="inspect") as pool:
            return self._answers(items, source, pool.map)

    def _answers(self, items: Sequence[Production], source: str, run: Callable[..., Iterable[Any]]) -> list[Answer]:
        arrived: list[Arrived] = list(run(judging.arrive, items))
        stored = inspections.requested(self.ledger, self.line, {one.request_id for one in arrived})
        new: dict[str, Arrived] = {}
        for one in arrived:
            if one.request_id not in stored:
                new.setdefault(one.request_id, one)
        judged: list[tuple[inspections.Record, Prediction | None]]
        judged = list(run(lambda one: self._judge(one, source), new.values()))
        stored |= inspections.add_once(self.ledger, [record for record, _ in judged])
        deleted_images.keep(self.ledger, self.store.put, {one.image: one.data for one in new.values()})
        fresh = {id(record): prediction for record, prediction in judged}
        answers: list[Answer] = []
        for one in arrived:
            record = stored[one.request_id]
            first = new.get(one.request_id) is one and id(record) in fresh
            answers.append(judging.answer(one, record, fresh.get(id(record)), first=first))
        return answers

    def _judge(self, one: Arrived, source: str) -> tuple[inspections.Record, Prediction | None]:
        self.store.put(one.data, one.image)
        return judging.judge(one, judging.Judge(self.line, self.detector, self.version), source)


def from_file_name(
    read: Callable[[], bytes],
    name: str,
    named: PartPattern | None,
    *,
    part: str | None = None,
    view: str | None = None,
    slice: str | None = None,
    request_id: str | None = None,
) -> Production:
    """Return the production image of a file. A stated part or view takes precedence over the line's pattern."""
    names = named.find(name) if named else None
    return Production(
        read=read,
        part=part or (names.part if names else None),
        view=view or (names.view if names else None),
        request_id=request_id,
        slice=slice,
        file_name=name,
    )


@contextlib.contextmanager
def open_inspector(workspace: Workspace, *, threads: int | None = None) -> Iterator[Inspector]:
    with Inspector(workspace, threads=threads) as inspector:
        yield inspector


def inspect_file(
    inspector: Inspector,
    path: Path,
    *,
    part: str | None,
    slice: str | None,
    folder: Path,
    view: str | None = None,
    part_from: str | None = None,
) -> dict:
    """Inspect one file. Returns what `defectloop inspect` prints; the heatmap image is written to `folder`."""
    _require_names(part=part, view=view, slice=slice)
    data = read_file(path)
    named = part_names.pattern(part_from, inspector.workspace.params().ingest.part_from)
    # A command always inspects again, so it needs a new request id.
    own = str(uuid4())
    item = from_file_name(
        lambda: data, names.shown(path.as_posix()), named, part=part, view=view, slice=slice, request_id=own
    )
    judged = inspector.inspect(item, source="command line")
    record = judged.record
    assert judged.prediction is not None
    picture = heatmaps.path_of(folder, record)
    try:
        heatmaps.write(picture, data, judged.prediction.heatmap)
        kept: str | None = names.shown(str(picture))
    except OSError as error:  # the verdict is in the ledger by now, and must reach whoever asked
        log.warning("No heatmap of %s: %s.", names.shown(str(path)), error.strerror)
        kept = None
    return {
        "image": names.shown(str(path)),
        "part": record.part,
        "view": record.view,
        "verdict": record.verdict,
        "score": round(record.score, 4),
        "regions": record.regions,
        "heatmap": kept,
        "model_version": record.model_version,
        "latency_ms": record.latency_ms,
        "inspection": record.id,
    }


def part_verdict(inspector: Inspector, part: str, *, unread: int = 0) -> dict:
    """Return the verdict on a part from all its views, as `defectloop inspect` prints it for several images of one part.

    A part with `unread` unreadable images cannot pass, because these images may show a defect.
    """
    whole = part_verdicts.of(inspections.of_part(inspector.ledger, inspector.line, part))
    clear = whole.verdict != Verdict.PASS or not unread
    return {
        "part": part,
        "verdict": whole.verdict if clear else Verdict.REVIEW,
        "score": round(whole.score, 4),
        "views": len(whole.views),
        "unread": unread,
        "inspections": [item.id for item in whole.views],
    }


def replay_folder(
    workspace: Workspace,
    folder: Path,
    *,
    slice: str | None = None,
    part_from: str | None = None,
    allow_outside: bool = False,
) -> ReplayReport:
    """Inspect every image below `folder`, ordered by name. Repeating it adds nothing, because images are identified by their
    bytes. Raises BadData and BadInput.

    Files with the same bytes are one request, unless their names state different parts or views. Links to files outside the
    folder are refused as in a delivery (`pipelines.ingest.delivery_folder`), unless `allow_outside` is set.
    """
    _require_names(slice=slice)
    if not folder.is_dir():
        raise BadData(f"{folder} is not a folder.", next_step="defectloop replay FOLDER")
    named = part_names.pattern(part_from, workspace.params().ingest.part_from)
    place = delivery_folder.opened(folder, allow_outside=allow_outside)
    files = place.images()
    items = [
        from_file_name(partial(place.read, path), names.shown(place.name_of(path)), named, slice=slice)
        for path in files
    ]
    if named and named.origin == part_names.OPTION and all(item.part is None for item in items):
        raise BadInput(
            f"{named.origin} {named.expression.pattern!r} matches none of the {len(files)} file names (first: {files[0]}).",
            next_step="Correct the expression: its group `part`, or else its first group, is the part.",
        )
    report = replay(workspace, progress.track("images", items, len(items)), names.shown(place.root.as_posix()))
    return replace(
        report, linked_folders=tuple(names.shown(place.name_of(path)) for path in place.listing.linked_folders)
    )


def _require_names(**stated: str | None) -> None:
    for what, name in stated.items():
        names.require(name, f"The {what}")


def replay(workspace: Workspace, items: Iterable[Production], source: str) -> ReplayReport:
    """Inspect images that the ledger does not contain yet, in blocks. After a kill, completed blocks are kept.

    Raises BadData at the end, after all other images, if request ids were used for other images before.
    """
    counts: Counter[str] = Counter()
    parts: set[str] = set()
    conflicts: list[Conflict] = []
    received: set[str] = set()
    with open_inspector(workspace, threads=1) as inspector:
        remaining = iter(items)
        while block := list(islice(remaining, BLOCK)):
            for answer in inspector.inspect_many(block, source):
                if isinstance(answer, Conflict):
                    conflicts.append(answer)
                    continue
                again = answer.record.request_id in received
                received.add(answer.record.request_id)
                new = not answer.repeated
                counts[
                    "copies" if again else "known" if not new else "rejected" if isinstance(answer, Rejected) else "new"
                ] += 1
                if new and isinstance(answer, Inspected):
                    parts.add(answer.record.part)
        verdicts = Counter(inspections.part_verdicts(inspector.ledger, inspector.line, parts).values())
    if conflicts:
        raise BadData(
            f"{len(conflicts)} images were not inspected (first: {conflicts[0].reason})",
            next_step="Use a unique id for every request. All other images were inspected.",
        )
    return ReplayReport(
        counts["new"], counts["known"], counts["copies"], counts["rejected"], dict(sorted(verdicts.items()))
    )
