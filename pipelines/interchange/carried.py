"""Columns that another tool's format has no place for: they travel beside an image under one key of our own.

The image's columns (part, slice, split, …) always come back. Ground truth comes back only while the annotations beside it
are the ones that were handed over, which a seal tells: what a person changed in the other tool is that person's, and a
label that we remember must not overrule it. Pure.
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
UNANNOTATED = "unannotated"  # the seal where no annotation was written
_DECIMALS = 3  # of pixels and of percent: other tools write floats their own way


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
    """A short digest of annotations as JSON has them, whatever their order; the same for 24, 24.0 and 24.0000001."""
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
    """What goes beside the image of a row. Absent keys are null."""
    columns = {name: row.get(name) for name in (*_IMAGE, *_GROUND_TRUTH)}
    kept: dict[str, Any] = {
        name: value
        for name, value in columns.items()
        if name == "split_stated" or (value is not None and value is not False and value != [])
    }
    boxes = row["boxes"]
    return kept | {"n_boxes": None if boxes is None else len(boxes), "seal": sealed}


def unchanged(held: Any, sealed: str) -> bool:
    """Whether the annotations are still those that were handed over."""
    return isinstance(held, dict) and held.get("seal") == sealed


def fields(held: Any, sealed: str, where: str) -> dict[str, Any]:
    """The fields of a Delivery that the columns beside an image state.

    Raises BadData, beginning with `where`, for values that are none of ours.
    """
    if held is None:
        return {}
    if not isinstance(held, dict):
        raise BadData(f"{where}: `{KEY}` is no object.", next_step=f"Take `{KEY}` out or hand the dataset over again.")
    same = unchanged(held, sealed)
    values = {name: held[name] for name in _IMAGE if held.get(name) is not None}
    if same:
        values |= {name: held.get(name) for name in _GROUND_TRUTH}
        values["defect_types"] = held.get("defect_types") or []
    for name, value in values.items():
        if value is not None and not (_IMAGE | _GROUND_TRUTH)[name](value):
            raise BadData(
                f"{where}: `{KEY}` says {name} is {value!r}.",
                next_step=f"Correct it, or take `{KEY}` out: it is what defectloop remembers of the image.",
            )
    if same:
        values["defect_types"] = tuple(values["defect_types"])
        if not held.get("n_boxes"):  # there are none, or nobody looked; what stands there goes with the mask
            values["boxes"] = None if held.get("n_boxes") is None else []
    return values
