"""Corrections by a later delivery of an image that `data/` already contains: label, mask, boxes, part. Pure functions.

Missing information changes nothing: a delivery without masks removes no mask. A later statement replaces the earlier one,
together with its author and date, unless it is dated before the present one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from pipelines import part_names

Row = Mapping[str, Any]
LABEL = ("label", "defect_types", "defect_probability")
SHAPES = ("mask", "boxes")
SIGNATURE = ("labelled_by", "labelled_at")
MASK_ERROR = "its mask: "  # start of the decode error of an image of which only the mask is broken


@dataclass(frozen=True)
class Correction:
    """New values for columns of a row. `outdated` means that the row's own statement is newer and is kept."""

    columns: dict[str, Any]
    relabelled: bool = False
    redrawn: bool = False
    outdated: bool = False

    def __bool__(self) -> bool:
        return bool(self.columns) or self.outdated


def of(held: Row, delivered: Row) -> Correction:
    """Return how the row `delivered` corrects the present row `held` of the same image."""
    columns: dict[str, Any] = {}
    relabelled = delivered["label"] is not None and _label(delivered) != _label(held)
    if relabelled:
        columns |= {name: delivered[name] for name in (*LABEL, *SIGNATURE)}
    redrawn = {
        name: delivered[name]
        for name in SHAPES
        if delivered.get(name) is not None and delivered[name] != held.get(name)
    }
    if (held.get("decode_error") or "").startswith(MASK_ERROR) and "mask" in redrawn:
        redrawn["decode_error"] = None
    columns |= redrawn
    if redrawn and delivered["labelled_by"] is not None:
        columns |= {name: delivered[name] for name in SIGNATURE}
    if columns and _earlier(delivered, held):
        return Correction({}, outdated=True)
    return Correction(columns, relabelled=relabelled, redrawn=bool(redrawn))


def parts(stated: Mapping[str, str], rows: Iterable[Row]) -> dict[str, str]:
    """Return the images whose part is changed to the newly stated one, as image to part. The others keep their part.

    A part that was stated before is never renamed, and images of different splits cannot become one part, because a part
    lies in one split. `rows` are all rows, with image, part, split and source_path.
    """
    splits: dict[str, set[str]] = defaultdict(set)
    renamed: dict[str, str] = {}
    for row in rows:
        part = stated.get(row["image"])
        if part is not None and part != row["part"] and _is_unstated(row):
            renamed[row["image"]] = part
        else:
            part = row["part"]
        if row["split"] is not None:
            splits[part].add(row["split"])
    return {image: part for image, part in renamed.items() if len(splits[part]) <= 1}


def _label(row: Row) -> tuple[Any, ...]:
    return row["label"], tuple(row["defect_types"] or ()), row["defect_probability"]


def _earlier(delivered: Row, held: Row) -> bool:
    """Return whether the present statement is newer. An undated repetition by the sender does not overrule the label that
    a person gave when releasing the image from quarantine."""
    before, after = _moment(held["labelled_at"]), _moment(delivered["labelled_at"])
    if before is not None and after is not None:
        return after < before
    return before is not None and held["accepted_by"] is not None and held["labelled_by"] != delivered["labelled_by"]


def _moment(text: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None  # not a date; the data contract reports it
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _is_unstated(row: Row) -> bool:
    """Return whether the part was never stated. Earlier versions named such parts after their file."""
    return not part_names.is_stated(row["part"]) or (
        row["part"] == PurePosixPath(row["source_path"]).with_suffix("").as_posix()
    )
