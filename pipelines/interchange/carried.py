"""Columns that another tool's format cannot represent: the export adds them to each image under a key of our own.

Columns of the image (part, slice, split, …) are always read back. Ground truth is read back only if the annotations are
unchanged since the export, which a digest (the seal) shows: changes that a person made in the other tool must not be
overwritten by stored labels. Pure.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from typing import Any

from models.errors import BadData
from models.vocabulary import Label, Split

KEY = "defectloop"
UNANNOTATED = "unannotated"  # the seal of an image without annotations
_DECIMALS = 3  # of pixels and percent, because tools format floats differently


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


_IMAGE: dict[str, Callable[[Any], bool]] = {
    "part": _text,
    "slice": _text,
    "split": lambda value: _text(value) and value in set(Split),
    "split_stated": lambda value: isinstance(value, bool),
    "licence": _text,
    "accepted_by": _text,
    "accepted_at": _text,
    "synthetic": lambda value: isinstance(value, bool),
}
_GROUND_TRUTH: dict[str, Callable[[Any], bool]] = {
    "label": lambda value: _text(value) and value in set(Label),
    "defect_types": _texts,
    "defect_probability": _share,
    "labelled_by": _text,
    "labelled_at": _text,
}


def seal(annotations: Iterable[Any]) -> str:
    """Return a short digest of JSON annotations, independent of their order and of float formatting."""
    each = (json.dumps(_plain(one), sort_keys=True, separators=(",", ":")) for one in annotations)
    return hashlib.sha256("\n".join(sorted(each)).encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return round(float(value), _DECIMALS) + 0.0 if math.isfinite(value) else str(value)
    return value


def carried(row: dict[str, Any], sealed: str) -> dict[str, Any]:
    """Return the columns to store with the image of a row. Missing keys mean null."""
    columns = {name: row.get(name) for name in (*_IMAGE, *_GROUND_TRUTH)}
    kept: dict[str, Any] = {
        name: value
        for name, value in columns.items()
        if name == "split_stated" or (value is not None and value is not False and value != [])
    }
    boxes = row["boxes"]
    return kept | {"n_boxes": None if boxes is None else len(boxes), "seal": sealed}


def unchanged(held: Any, sealed: str) -> bool:
    """Return whether the annotations are unchanged since the export."""
    return isinstance(held, dict) and held.get("seal") == sealed


def fields(held: Any, sealed: str, where: str) -> dict[str, Any]:
    """Return the fields of a Delivery from the columns stored with an image.

    Raises BadData, beginning with `where`, for invalid values.
    """
    if held is None:
        return {}
    if not isinstance(held, dict):
        raise BadData(f"{where}: `{KEY}` is not an object.", next_step=f"Remove `{KEY}`, or export the dataset again.")
    same = unchanged(held, sealed)
    values = {name: held[name] for name in _IMAGE if held.get(name) is not None}
    if same:
        values |= {name: held.get(name) for name in _GROUND_TRUTH}
        values["defect_types"] = held.get("defect_types") or []
    for name, value in values.items():
        if value is not None and not (_IMAGE | _GROUND_TRUTH)[name](value):
            raise BadData(
                f"{where}: `{KEY}` has an invalid {name}: {value!r}.",
                next_step=f"Correct it, or remove `{KEY}`, which defectloop's export added to the image.",
            )
    if same:
        values["defect_types"] = tuple(values["defect_types"])
        if not held.get("n_boxes"):  # no boxes, or boxes unknown; boxes in the file were made from the mask
            values["boxes"] = None if held.get("n_boxes") is None else []
    return values
