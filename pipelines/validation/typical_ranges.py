"""The typical range of each descriptor in each slice, learned from the champion's data, or from the present data before
there is a champion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyarrow import compute

from models.dataset import annotation_table
from models.images.typical_range import RANGED, typical_range
from pipelines.adapters import dataset_versions
from pipelines.ledger import promotions
from pipelines.ledger.ledger import Ledger
from pipelines.workspace import Workspace

MIN_IMAGES = 20  # per slice, to learn a typical range


@dataclass(frozen=True)
class TypicalRanges:
    origin: str  # description of the data that the ranges were learned from
    ranges: Mapping[str, Mapping[str, tuple[float, float]]]  # slice → descriptor → lowest and highest
    without: tuple[str, ...]  # slices of the present data without a typical range
    unmeasured: int  # images that were ingested before descriptors were measured, and cannot be checked


def learned(workspace: Workspace, table: pa.Table, factor: float) -> TypicalRanges:
    """Return the ranges for the slices of `table`. Slices that the champion's data lacks have none and are not checked."""
    origin, champions = _champions_data(workspace)
    source = table if champions is None else champions
    ranges = {name: of_one for name in _slices(table) if (of_one := of_slice(source, name, factor))}
    blank = compute.and_(compute.is_null(table[RANGED[0]]), compute.is_null(table["decode_error"]))
    without = tuple(name for name in _slices(table) if name not in ranges)
    return TypicalRanges(origin, ranges, without, compute.sum(blank).as_py() or 0)


def of_slice(table: pa.Table, name: str, factor: float) -> dict[str, tuple[float, float]]:
    """Return the ranges of one slice from its photographs, without synthetic images. Empty if too few are measured."""
    wanted = compute.and_(compute.equal(table["slice"], name), compute.invert(table["synthetic"]))
    rows = table.filter(wanted)
    columns = {descriptor: rows[descriptor].to_numpy().astype(float) for descriptor in RANGED}
    if (~np.isnan(columns[RANGED[0]])).sum() < MIN_IMAGES:
        return {}
    return {
        descriptor: limits
        for descriptor, values in columns.items()
        if (limits := typical_range(descriptor, values, factor))
    }


def _slices(table: pa.Table) -> list[str]:
    return sorted(table["slice"].unique().to_pylist())


def _champions_data(workspace: Workspace) -> tuple[str, pa.Table | None]:
    """Return a description of the data to learn from, and the champion's annotations, or None to use the present ones."""
    line = workspace.params().line
    with Ledger.open(workspace.ledger_url) as ledger:
        decision = promotions.champion(ledger, line)
    if decision is None:
        return "the present data, because there is no champion yet", None
    data_hash = decision.numbers.get("data_hash")  # missing in older promotions
    path = dataset_versions.cached_file(workspace.root, data_hash, "annotations.parquet") if data_hash else None
    if path is None:
        return "the present data, because the champion's data is not on this machine", None
    table = annotation_table.load(path)
    if table[RANGED[0]].null_count == len(table):
        return "the present data, because the champion's data has no measured descriptors", None
    return f"champion version {decision.version}, {decision.numbers['snapshot']}", table
