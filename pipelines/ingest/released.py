"""Images that a person takes back from quarantine: the bytes that were kept, what the sender said, and a label if given."""

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
    """Ingest them again and forget the entries.

    The next validation checks them like any other image, unless a `reviewer` stands behind them: then it asks only for
    what nobody can wave through, that they can be read and have a label.
    """
    if label is not None and label not in set(Label):
        raise BadInput(f"There is no label {label!r}.", next_step=f"Labels: {', '.join(Label)}.")
    if label is not None and not reviewer:
        raise BadInput("A label needs somebody who stands behind it.", next_step='Add --reviewer "…".')
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
    """A person can stand behind an odd image, but nobody behind one that can't be read or is nothing."""
    unreadable = [entry.path for entry in entries if entry.row.get("decode_error")]
    if unreadable:
        raise BadInput(
            f"{unreadable[0]} can't be read, whoever stands behind it.",
            next_step="Ingest a whole copy of it, or release the others by name.",
        )
    unlabelled = [entry.path for entry in entries if entry.row["label"] is None]
    if unlabelled and label is None:
        raise BadInput(f"Nobody says what {unlabelled[0]} is.", next_step="Say it: --label good or --label defect")


def _delivery(entry: Quarantined, data: bytes, data_dir: Path, label: str | None, reviewer: str | None) -> Delivery:
    row, now = entry.row, datetime.now(UTC).isoformat(timespec="seconds")
    mask = data_dir / row["mask"] if row.get("mask") else None
    return Delivery(
        name=row["source_path"],
        read=lambda: data,
        part=row["part"],  # one that nobody stated may still join its look-alikes
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
