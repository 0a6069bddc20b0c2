"""The labelled images of one split, as arrays and paths."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from models.errors import BadData
from models.vocabulary import Label, Split


@dataclass(frozen=True)
class Examples:
    """Images of one split, in the order of their hashes.

    targets       float32 [n], 1 for defective images
    types         indices of each image's types in `defect_types`; empty for good images and unknown types
    masks         each image's ground-truth mask, white where defective, or None
    boxes         each image's float32 [m, 5]: left, top, right, bottom relative to its sides, index in `defect_types`
    synthetic     bool [n], True for synthetic images, which are only in the training split
    defect_types  types of the training split, for every split; only `defect` if no types are known
    """

    images: Sequence[str]
    parts: Sequence[str]
    files: Sequence[Path]
    targets: np.ndarray
    types: Sequence[tuple[int, ...]]
    masks: Sequence[Path | None]
    boxes: Sequence[np.ndarray]
    synthetic: np.ndarray
    defect_types: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


def of_split(table: pa.Table, data_dir: Path, split: Split, needs: Collection[Label]) -> Examples:
    """Return the labelled images of `split`. Raises BadData if a needed label has no image."""
    columns = ["image", "part", "file", "split", "label", "defect_types", "mask", "boxes", "synthetic"]
    rows = table.select([*columns, "width_px", "height_px"]).to_pylist()
    defect_types = _defect_types(rows)
    chosen = [row for row in rows if row["split"] == split and row["label"]]
    if missing := sorted(set(needs) - {row["label"] for row in chosen}):
        raise BadData(
            f"The {split} split has {len(chosen)} labelled images, but none with the label {' or '.join(missing)}. "
            f"This kind of detector needs images with the label {' and '.join(sorted(needs))}.",
            next_step="Ingest more: defectloop ingest FOLDER; or set model.kind: anomaly, which needs only good images.",
        )
    place = {name: number for number, name in enumerate(defect_types)}
    return Examples(
        images=[row["image"] for row in chosen],
        parts=[row["part"] for row in chosen],
        files=[data_dir / row["file"] for row in chosen],
        targets=np.array([row["label"] == Label.DEFECT for row in chosen], dtype=np.float32),
        types=[tuple(sorted(place[name] for name in _types(row) if name in place)) for row in chosen],
        masks=[data_dir / row["mask"] if row["mask"] else None for row in chosen],
        boxes=[_boxes(row, place) for row in chosen],
        synthetic=np.array([bool(row["synthetic"]) for row in chosen]),
        defect_types=defect_types,
    )


def subset(examples: Examples, wanted: Sequence[bool]) -> Examples:
    """Return the examples for which `wanted` [n] is true, in their order."""
    places = np.flatnonzero(wanted)

    def some(column: Any) -> Any:
        return column[places] if isinstance(column, np.ndarray) else [column[place] for place in places]

    columns = [field.name for field in fields(examples) if field.name != "defect_types"]
    return replace(examples, **{name: some(getattr(examples, name)) for name in columns})


def type_targets(examples: Examples) -> np.ndarray:
    """Return float32 [n, k]: 1 for an image's defect types, 0 for others, −1 for defective images without a type."""
    target_types = np.zeros((len(examples), len(examples.defect_types)), dtype=np.float32)
    for row, (target, types) in enumerate(zip(examples.targets, examples.types, strict=True)):
        target_types[row, list(types)] = 1
        if target and not types:
            target_types[row] = -1
    return target_types


def _defect_types(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    named = {
        name for row in rows if row["split"] == Split.TRAIN and row["label"] == Label.DEFECT for name in _types(row)
    }
    return tuple(sorted(named)) or (Label.DEFECT.value,)


def _types(row: dict[str, Any]) -> set[str]:
    of_boxes = {box["defect_type"] for box in row["boxes"] or () if box["defect_type"]}
    return {*(row["defect_types"] or ()), *of_boxes} if row["label"] == Label.DEFECT else set()


def _boxes(row: dict[str, Any], place: dict[str, int]) -> np.ndarray:
    """Return the image's boxes. Boxes of unknown or no type get the image's type, or else the first type."""
    width, height = row["width_px"] or 1, row["height_px"] or 1
    only = next(iter(_types(row)), None)
    rows = [
        (
            box["x"] / width,
            box["y"] / height,
            (box["x"] + box["width"]) / width,
            (box["y"] + box["height"]) / height,
            place.get(box["defect_type"] or only or "", 0),
        )
        for box in row["boxes"] or ()
    ]
    return np.array(rows, dtype=np.float32).reshape(-1, 5)
