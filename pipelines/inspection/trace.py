"""Traces a part's verdicts back to the model, run, snapshot, commit, and the sources of the training images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from models.dataset import annotation_table
from models.vocabulary import Label, Split
from pipelines.adapters import dataset_versions, model_registry
from pipelines.ledger import inspections, part_verdicts, promotions, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.part_verdicts import PartVerdict
from pipelines.ledger.tables import Inspection, Promotion, Review
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
class Trace:
    part: str
    verdict: PartVerdict  # of all its views together
    inspections: list[Inspection]
    reviews: list[Review]
    origins: dict[str, Origin]  # by model version


def trace(workspace: Workspace, part: str) -> Trace:
    """Collect everything that the ledger, registry and snapshots hold about a part. `part` is its id or the file name of its
    image. Raises BadInput for an unknown part, and for a file name that belongs to several parts."""
    line = workspace.params().line
    with Ledger.open(workspace.ledger_url) as ledger:
        part = inspections.part_called(ledger, line, part)
        inspected = inspections.of_part(ledger, line, part)
        reviewed = reviews.of_part(ledger, line, part)
        origins = {
            number: _origin(workspace, line, number, promotions.last(ledger, line, version=number))
            for number in dict.fromkeys(item.model_version for item in inspected)
        }
    return Trace(part, part_verdicts.of(inspected), inspected, reviewed, origins)


def render(traced: Trace) -> str:
    """Format for a terminal: one block per inspection, newest last."""
    views = len(traced.verdict.views)
    lines = [f"Part {traced.part}" + (f"  {traced.verdict.verdict.upper()} from {views} views" if views > 1 else "")]
    for item in traced.inspections:
        origin = traced.origins[item.model_version]
        lines += [
            f"  {item.verdict.upper()}  score {item.score:.3f}  {item.inspected_at:%Y-%m-%d %H:%M:%S} UTC  ({item.source})",
            f"    image      {item.image}" + (f", {item.file_name}" if item.file_name else ""),
            *([f"    view       {item.view}"] if item.view else []),
            f"    model      version {item.model_version}, file {item.artefact_sha256[:16]}",
            f"    promotion  {'; '.join(origin.promotion.reasons) if origin.promotion else 'none recorded'}",
            f"    run        {origin.mlflow_run_id}",
            f"    snapshot   {origin.snapshot}, {origin.data_hash}",
            f"    commit     {origin.git_commit}",
            f"    training   {_sources(origin.training_sources)}",
        ]
    for review in traced.reviews:
        lines.append(f"  {_answer(review)} according to {review.reviewer}, {review.reviewed_at:%Y-%m-%d %H:%M:%S} UTC")
    return "\n".join(lines)


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
