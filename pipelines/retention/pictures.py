"""Heatmaps in the workspace show the image under them: they go with it."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from sqlalchemy import select

from pipelines.inspection import heatmaps
from pipelines.ledger import deletions
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Inspection
from pipelines.workspace import Workspace

_NUMBER = re.compile(r"-(\d{1,18})\.png")
_AT_ONCE = 500  # bound parameters per statement


def of(workspace: Workspace, ledger: Ledger, line: str, images: Collection[str]) -> list[Path]:
    """Return the heatmaps of these images and of those that were deleted before."""
    folder = heatmaps.default_folder(workspace)
    numbers = [int(found[1]) for path in folder.glob("*.png") if (found := _NUMBER.search(path.name))]
    paths: list[Path] = []
    for start in range(0, len(numbers), _AT_ONCE):
        query = select(Inspection).where(Inspection.line == line, Inspection.id.in_(numbers[start : start + _AT_ONCE]))
        with ledger.reading() as session:
            shown = list(session.scalars(query))
        deleted = deletions.newest(ledger, [item.image for item in shown])
        paths += [
            heatmaps.path_of(folder, item)
            for item in shown
            if item.image in images or deleted.get(item.image) == deletions.DELETED
        ]
    return [path for path in paths if path.is_file()]
