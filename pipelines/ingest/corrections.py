"""What a later delivery of an image that is in `data/` already corrects: label, mask, boxes, part. Pure.

Silence changes nothing: a delivery without masks takes no mask away. What a sender says later replaces what was said
before, with who says it and when; only a statement that is dated before the present one does not.
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
MASK_ERROR = "its mask: "  # how the decode error of an image begins whose mask alone is broken


@dataclass(frozen=True)
class Correction:
    """New values of a row's columns; `outdated` says that the row's own statement is the later one and stays."""

    columns: dict[str, Any]
    relabelled: bool = False
    redrawn: bool = False
    outdated: bool = False

    def __bool__(self) -> bool:
        return bool(self.columns) or self.outdated


def of(held: Row, delivered: Row) -> Correction:
    """What `delivered` says otherwise about the same image than the row that is held."""
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
    """Which of the images that have a part by now stated get it: image to part. The others keep the part that they have.

    A part that somebody stated is never renamed, and no split may be cut by it: images of different splits can't become
    one part. `rows` are all rows, with image, part, split and source_path.
    """
    splits: dict[str, set[str]] = defaultdict(set)
    renamed: dict[str, str] = {}
    for row in rows:
        part = stated.get(row["image"])
        if part is not None and part != row["part"] and _nobody_stated(row):
            renamed[row["image"]] = part
        else:
            part = row["part"]
        if row["split"] is not None:
            splits[part].add(row["split"])
    return {image: part for image, part in renamed.items() if len(splits[part]) <= 1}


def _label(row: Row) -> tuple[Any, ...]:
    return row["label"], tuple(row["defect_types"] or ()), row["defect_probability"]


def _earlier(delivered: Row, held: Row) -> bool:
    """Whether what is held was said later. A person who released an image with a label is not overruled by its sender's
    undated repetition."""
    before, after = _moment(held["labelled_at"]), _moment(delivered["labelled_at"])
    if before is not None and after is not None:
        return after < before
    return before is not None and held["accepted_by"] is not None and held["labelled_by"] != delivered["labelled_by"]


def _moment(text: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None  # no date; the contract names the row
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _nobody_stated(row: Row) -> bool:
    """Also of rows that an earlier version named after their file."""
    return not part_names.is_stated(row["part"]) or (
        row["part"] == PurePosixPath(row["source_path"]).with_suffix("").as_posix()
    )
