"""Compares the images that the ledger names with those in the image store: present, deleted under retention, or missing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from pipelines.image_files.image_store import open_store
from pipelines.ledger import deletions
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Inspection, Rejection
from pipelines.workspace import Workspace

_AT_ONCE = 5000  # rows that are read together


@dataclass(frozen=True)
class Presence:
    """Numbers of different images of the line. `missing` are sentences, one for each image."""

    present: int
    deleted: int
    missing: tuple[str, ...]


def check(workspace: Workspace, ledger: Ledger) -> Presence:
    """Look for the image of every inspection and rejection. Images are not read: their content is not compared."""
    line = workspace.params().line
    spool = workspace.state / "spool" / "images"
    stored = {path.name for path in spool.iterdir()} if spool.is_dir() else set()
    named: dict[str, tuple[str, datetime]] = {}  # the latest row that names an image, and its time
    with ledger.reading() as session:
        for table, at in ((Inspection, Inspection.inspected_at), (Rejection, Rejection.rejected_at)):
            kind = table.__tablename__.removesuffix("s")
            query = select(table.image, table.id, table.part, at).where(table.line == line).order_by(table.id)
            for image, number, part, moment in session.execute(query.execution_options(yield_per=_AT_ONCE)):
                named[image] = (f"{kind} {number} (part {part})", moment)
    stored |= {image for image, _ in open_store(workspace.store_url).stored()}
    absent = [image for image in named if image not in stored]
    deleted = deletions.of_images(ledger, absent)
    missing = tuple(
        f"The image of {named[image][0]} is missing: {image} is not in the store, and was not deleted under retention."
        for image in absent
        if image not in deleted or deleted[image].decided_at < named[image][1]
    )
    return Presence(len(named) - len(absent), len(absent) - len(missing), missing)
