"""Releases images from quarantine into `data/`, with the kept bytes, the sender's statements, and a new label if given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from models.errors import BadInput
from models.vocabulary import Label
from pipelines.image_files import quarantine
from pipelines.image_files.quarantine import Quarantined
from pipelines.ingest.deliveries import Box, Delivery, Source
from pipelines.ingest.ingest import IngestReport, take_in
from pipelines.workspace import Workspace


def release(
    workspace: Workspace, entries: Sequence[Quarantined], *, label: str | None, reviewer: str | None
) -> IngestReport:
    """Ingest the entries again and remove them from quarantine. Raises BadInput.

    The next validation checks them like any other image. If a `reviewer` approves them, it only requires that they can be
    decoded and have a label.
    """
    if label is not None and label not in set(Label):
        raise BadInput(f"Unknown label {label!r}.", next_step=f"Labels: {', '.join(Label)}.")
    if label is not None and not reviewer:
        raise BadInput("A label needs a reviewer.", next_step='Add --reviewer "…".')
    if reviewer:
        _require_acceptable(entries, label)
    by_source: dict[str, list[Quarantined]] = defaultdict(list)
    for entry in entries:
        by_source[entry.row["source"]].append(entry)
    added = already = 0
    refused: list[Quarantined] = []
    for source, mine in by_source.items():
        kept = {entry.file: (workspace.quarantine / entry.file).read_bytes() for entry in mine}
        deliveries = [_delivery(entry, kept[entry.file], workspace.data, label, reviewer) for entry in mine]
        report = take_in(workspace, Source(source, deliveries), again=True)
        added, already = added + report.added, already + report.already_present
        refused += report.quarantined
    still = {(entry.path, entry.image) for entry in refused}
    for entry in entries:
        if (entry.path, entry.image) not in still:
            quarantine.drop(workspace, entry)
    return IngestReport("quarantine", added, already, tuple(refused))


def _require_acceptable(entries: Sequence[Quarantined], label: str | None) -> None:
    """Raise BadInput for images that a reviewer cannot approve: those that cannot be decoded or have no label."""
    unreadable = [entry.path for entry in entries if entry.row.get("decode_error")]
    if unreadable:
        raise BadInput(
            f"{unreadable[0]} cannot be decoded, so it cannot be released.",
            next_step="Ingest an intact copy of it, or release the other entries by name.",
        )
    unlabelled = [entry.path for entry in entries if entry.row["label"] is None]
    if unlabelled and label is None:
        raise BadInput(f"{unlabelled[0]} has no label.", next_step="Add --label good or --label defect.")


def _delivery(entry: Quarantined, data: bytes, data_dir: Path, label: str | None, reviewer: str | None) -> Delivery:
    row, now = entry.row, datetime.now(UTC).isoformat(timespec="seconds")
    mask = data_dir / row["mask"] if row.get("mask") else None
    return Delivery(
        name=row["source_path"],
        read=lambda: data,
        part=row["part"],  # an unstated part may still be grouped with near duplicates
        slice=row["slice"],
        label=label or row["label"],
        split=row["split"],
        split_stated=row.get("split_stated"),
        defect_types=tuple(row["defect_types"] or ()),
        defect_probability=row["defect_probability"],
        labelled_by=reviewer if label else row["labelled_by"],
        labelled_at=now if label else row["labelled_at"],
        licence=row["licence"],
        accepted_by=reviewer or row.get("accepted_by"),
        accepted_at=now if reviewer else row.get("accepted_at"),
        synthetic=bool(row.get("synthetic")),
        mask=mask.read_bytes if mask else None,
        boxes=None if row.get("boxes") is None else [Box(**box) for box in row["boxes"]],
    )
