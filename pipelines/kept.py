"""What no exchange format has a field for, kept in one that other tools pass on: parts, slices, splits, and who labelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.ingest.deliveries import Box

KEY = "defectloop"
MASK_ONLY = "mask_only"  # an annotation whose box was only derived from its mask
BOXED = "boxed"  # whether boxes were stated, be it that there are none
NAMES = (
    "part", "slice", "split", "label", "defect_types", "defect_probability", "labelled_by", "labelled_at", "licence",
)  # fmt: skip


def of_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in NAMES if row[name] is not None} | {BOXED: row["boxes"] is not None}


def in_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a `Delivery` that an earlier handover left in this entry; empty for anybody else's."""
    said = entry.get(KEY)
    if not isinstance(said, Mapping):
        return {}
    return {name: said.get(name) for name in NAMES} | {"defect_types": tuple(said.get("defect_types") or ())}


def boxes(entry: Mapping[str, Any], found: list[Box]) -> list[Box] | None:
    """What was found; when that is nothing, None where an earlier handover said that nobody had looked for boxes."""
    said = entry.get(KEY)
    return None if not found and isinstance(said, Mapping) and not said.get(BOXED, True) else found


def mask_only(entry: Mapping[str, Any]) -> bool:
    said = entry.get(KEY)
    return isinstance(said, Mapping) and bool(said.get(MASK_ONLY))
