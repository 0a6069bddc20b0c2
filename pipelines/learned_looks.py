"""How each slice usually looks: learned from the data the champion was trained on, or from the present data before that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyarrow import compute

from models import annotation_table
from models.errors import Unreachable
from models.usual import LOOKS, usual_range
from pipelines.adapters import dataset_versions
from pipelines.ledger import promotions
from pipelines.ledger.ledger import Ledger
from pipelines.workspace import Workspace

MIN_IMAGES = 20  # of a slice, to say what is usual


@dataclass(frozen=True)
class LearnedLooks:
    origin: str  # in words
    ranges: Mapping[str, Mapping[str, tuple[float, float]]]  # slice → descriptor → lowest and highest
    without: tuple[str, ...]  # slices of the present data that nothing is known about


def learned(workspace: Workspace, table: pa.Table, reach: float) -> LearnedLooks:
    """Ranges for the slices of `table`. A slice that the champion never saw has none: it is named, not judged."""
    origin, source = _champions_data(workspace) or ("the present data", table)
    ranges = {name: found for name in _slices(table) if (found := of_slice(source, name, reach))}
    return LearnedLooks(origin, ranges, tuple(name for name in _slices(table) if name not in ranges))


def of_slice(table: pa.Table, name: str, reach: float) -> dict[str, tuple[float, float]]:
    """Ranges of one slice's photographed images; empty with too few of them, or when nothing was measured on them."""
    wanted = compute.and_(compute.equal(table["slice"], name), compute.invert(table["synthetic"]))
    rows = table.filter(wanted)
    columns = {look: rows[look].to_numpy().astype(float) for look in LOOKS}
    if (~np.isnan(columns[LOOKS[0]])).sum() < MIN_IMAGES:
        return {}
    return {look: found for look, values in columns.items() if (found := usual_range(look, values, reach))}


def _slices(table: pa.Table) -> list[str]:
    return sorted(table["slice"].unique().to_pylist())


def _champions_data(workspace: Workspace) -> tuple[str, pa.Table] | None:
    """None before the first champion, and where its snapshot is not on this machine or measured nothing.

    The ledger is asked first: it is at hand, while the registry takes seconds to load.
    """
    line = workspace.params().line
    with Ledger.open(workspace.ledger_url) as ledger:
        if not any(decision.kind == "promote" for decision in promotions.all_of(ledger, line)):
            return None
    from pipelines.adapters import model_registry

    try:
        champion = model_registry.champion(workspace, line)
    except Unreachable:
        return None
    if champion is None:
        return None
    path = dataset_versions.cached_file(workspace.root, champion.tags["data_hash"], "annotations.parquet")
    if path is None:
        return None
    return f"champion version {champion.version}, {champion.tags['snapshot']}", annotation_table.load(path)
