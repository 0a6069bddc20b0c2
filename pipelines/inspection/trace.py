"""Traces a part's verdicts back to the image, model, run, snapshot, commit, and the sources of the training images."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass, fields
from typing import Any

from models.dataset import annotation_table
from models.detector.runtime import Detector
from models.errors import BadInput, DefectloopError
from models.vocabulary import Label, Split, Verdict
from pipelines import failures
from pipelines.adapters import dataset_versions, model_registry
from pipelines.image_files import deleted_images
from pipelines.image_files.image_store import ImageStore, open_store
from pipelines.inspection import heatmaps, since
from pipelines.ledger import inspections, part_verdicts, promotions, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.part_verdicts import PartVerdict
from pipelines.ledger.tables import Inspection, Promotion, Review
from pipelines.review import questions
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class Origin:
    """Origin of a model version."""

    version: str
    mlflow_run_id: str
    snapshot: str
    data_hash: str
    git_commit: str
    promotion: Promotion | None
    training_sources: dict[str, int]  # training images by source; empty if the snapshot is not on this machine


@dataclass(frozen=True)
class Picture:
    """Where the image of an inspection is, and its heatmap. `no_heatmap` says why there is none. `deleted` says that
    the image was deleted under retention."""

    image: str
    heatmap: str | None = None
    no_heatmap: str | None = None
    deleted: str | None = None


@dataclass(frozen=True)
class Trace:
    part: str
    verdict: PartVerdict  # of all its views together
    inspections: list[Inspection]
    reviews: list[Review]
    origins: dict[str, Origin]  # by model version
    pictures: dict[int, Picture]  # by inspection
    asked: int | None = None  # the inspection that was asked about
    changes: tuple[str, ...] = ()  # what changed since that inspection


def trace(workspace: Workspace, part: str | None, inspection: int | None = None) -> Trace:
    """Collect everything that the ledger, registry and snapshots hold about a part. `part` is its id or the file name of its
    image, or the number of an inspection if no part has this name; `inspection` is always a number. Absent heatmaps of the
    present verdict are made. Raises BadInput for what is unknown, and for a file name that belongs to several parts.
    """
    line = workspace.params().line
    with Ledger.open(workspace.ledger_url) as ledger:
        asked = _inspection(ledger, line, part, inspection)
        part = asked.part if asked else inspections.part_called(ledger, line, part or "")
        changes = tuple(since.changes(ledger, line, asked)) if asked else ()
        inspected = inspections.of_part(ledger, line, part)
        reviewed = reviews.of_part(ledger, line, part)
        origins = {
            number: _origin(workspace, line, number, promotions.last(ledger, line, version=number))
            for number in dict.fromkeys(item.model_version for item in inspected)
        }
        store = open_store(workspace.store_url)
        deleted = deleted_images.gone(ledger, store, [item.image for item in inspected])
    verdict = part_verdicts.of(inspected)
    pictures = _pictures(workspace, line, store, inspected, verdict, deleted)
    return Trace(part, verdict, inspected, reviewed, origins, pictures, asked.id if asked else None, changes)


def _inspection(ledger: Ledger, line: str, part: str | None, number: int | None) -> Inspection | None:
    """Return the inspection that is asked about by its number, or None for a part. The name of a part takes precedence."""
    if number is None:
        if part is None or not part.isascii() or not part.isdigit() or len(part) > 18:
            return None
        return None if inspections.of_part(ledger, line, part) else inspections.by_number(ledger, line, int(part))
    found = inspections.by_number(ledger, line, number)
    if found is None:
        raise BadInput(f"Line {line} has no inspection {number}.", next_step="defectloop inspect prints the numbers.")
    return found


def document(traced: Trace) -> dict[str, Any]:
    """Return what `trace --json` prints: everything once, without the descriptors and the gate's tables."""
    return {
        "part": traced.part,
        "verdict": {
            "verdict": traced.verdict.verdict,
            "score": traced.verdict.score,
            "views": [item.id for item in traced.verdict.views],
        },
        "inspections": [
            {
                field.name: getattr(item, field.name)
                for field in fields(item)
                if field.name not in ("line", "descriptors")
            }
            | {"picture": traced.pictures[item.id]}
            for item in traced.inspections
        ],
        "asked": traced.asked,
        "changes": traced.changes,
        "reviews": traced.reviews,
        "origins": {
            number: {field.name: getattr(origin, field.name) for field in fields(origin) if field.name != "promotion"}
            | {"promotion": _decision(origin.promotion)}
            for number, origin in traced.origins.items()
        },
    }


def _decision(promotion: Promotion | None) -> dict[str, Any] | None:
    if promotion is None:
        return None
    return {
        name: getattr(promotion, name)
        for name in ("id", "kind", "version", "champion_before", "reasons", "state", "decided_at")
    }


def _pictures(
    workspace: Workspace,
    line: str,
    store: ImageStore,
    inspected: list[Inspection],
    verdict: PartVerdict,
    deleted: dict[str, str],
) -> dict[int, Picture]:
    """Find the image and heatmap of every inspection. Absent heatmaps are made for those that the verdict rests on."""
    folder = heatmaps.default_folder(workspace)
    decisive = {item.id for item in verdict.views}
    detectors: dict[str, Detector] = {}
    pictures = {}
    for item in inspected:
        place = store.address(item.image)
        path = heatmaps.path_of(folder, item)
        if item.image in deleted:
            pictures[item.id] = Picture(place, no_heatmap="the image was deleted", deleted=deleted[item.image])
        elif path.is_file():
            pictures[item.id] = Picture(place, str(path))
        elif item.id not in decisive:
            pictures[item.id] = Picture(place, no_heatmap="an older inspection of this view")
        else:
            try:
                if item.model_version not in detectors:
                    version = model_registry.version(workspace, line, item.model_version)
                    detectors[item.model_version] = Detector(model_registry.download(workspace, version))
                made = heatmaps.made(folder, item, store.get(item.image), detectors[item.model_version])
                pictures[item.id] = Picture(place, str(made))
            except (DefectloopError, OSError) as error:
                pictures[item.id] = Picture(place, no_heatmap=failures.short(error))
    return pictures


def render(traced: Trace) -> str:
    """Format for a terminal: one block per inspection, newest last."""
    views = len(traced.verdict.views)
    lines = [f"Part {traced.part}" + (f"  {traced.verdict.verdict.upper()} from {views} views" if views > 1 else "")]
    if traced.asked is not None:
        lines[0] += f", inspection {traced.asked}"
    shown = [item for item in traced.inspections if traced.asked in (None, item.id)]
    for item in shown:
        origin = traced.origins[item.model_version]
        lines += [
            f"  {item.verdict.upper()}  score {item.score:.3f}  {item.inspected_at:%Y-%m-%d %H:%M:%S} UTC  ({item.source})",
            f"    image      {_image(traced.pictures[item.id])}" + (f" ({item.file_name})" if item.file_name else ""),
            *([f"    view       {item.view}"] if item.view else []),
            f"    thresholds {_thresholds(item)}",
            f"    regions    {_regions(item.regions)}",
            f"    heatmap    {_heatmap(traced.pictures[item.id])}",
            f"    model      version {item.model_version}, file {item.artefact_sha256[:16]}",
            f"    promotion  {'; '.join(origin.promotion.reasons) if origin.promotion else 'none recorded'}",
            f"    run        {origin.mlflow_run_id}",
            f"    snapshot   {origin.snapshot}, {origin.data_hash}",
            f"    commit     {origin.git_commit}",
            f"    training   {_sources(origin.training_sources)}",
        ]
    for review in traced.reviews:
        lines.append(f"  {_answer(review)} according to {review.reviewer}, {review.reviewed_at:%Y-%m-%d %H:%M:%S} UTC")
    if traced.asked is not None:
        lines += [f"  since then  {change}" for change in traced.changes] or ["  since then  nothing has changed"]
        if others := len(traced.inspections) - 1:
            lines.append(f"  {others} more inspections of this part: defectloop trace {shlex.quote(traced.part)}")
    return "\n".join(lines)


def _thresholds(item: Inspection) -> str:
    if item.pass_below is None or item.fail_from is None:
        return "not recorded by the release that inspected"
    return f"pass below {item.pass_below:.3f}, fail from {item.fail_from:.3f}" + (
        f": {questions.why_review(item)}" if item.verdict == Verdict.REVIEW else ""
    )


def _regions(regions: list[Any]) -> str:
    """Return the boxes with position and size in pixels, most suspicious first."""
    return (
        "; ".join(
            f"{one['width']}×{one['height']} px at {one['x']},{one['y']}, score {one['score']:.2f}"
            + (f" ({one['defect_type']})" if one.get("defect_type") else "")
            for one in regions
        )
        or "none"
    )


def _image(picture: Picture) -> str:
    return picture.deleted or picture.image


def _heatmap(picture: Picture) -> str:
    return picture.heatmap or f"none: {picture.no_heatmap}"


def _answer(review: Review) -> str:
    word = review.label or {reviews.CANT_SAY: "can't say", reviews.SKIP: "skipped"}[review.answer]
    shown = [image[:16] for image, label in review.images.items() if label == Label.DEFECT]
    if len(review.images) > 1 and shown:
        word += f" (shown by {', '.join(shown)})"
    return word + (f": {review.comment}," if review.comment else "")


def _origin(workspace: Workspace, line: str, number: str, promotion: Promotion | None) -> Origin:
    version = model_registry.version(workspace, line, number)
    return Origin(
        version=number,
        mlflow_run_id=version.mlflow_run_id,
        snapshot=version.tags["snapshot"],
        data_hash=version.tags["data_hash"],
        git_commit=version.tags["git_commit"],
        promotion=promotion,
        training_sources=_training_sources(workspace, version.tags["data_hash"]),
    )


def _training_sources(workspace: Workspace, data_hash: str) -> dict[str, int]:
    path = dataset_versions.cached_file(workspace.root, data_hash, "annotations.parquet")
    if path is None:
        return {}
    counts: Counter[str] = Counter()
    for row in annotation_table.load(path).to_pylist():
        if row["split"] == Split.TRAIN:
            counts[row["source"]] += 1
    return dict(counts.most_common())


def _sources(counts: dict[str, Any]) -> str:
    if not counts:
        return "snapshot not on this machine (git fetch --tags, dvc pull)"
    return ", ".join(f"{count} images of {source}" for source, count in counts.items())
