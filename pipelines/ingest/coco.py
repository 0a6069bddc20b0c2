"""COCO: one JSON file with images, categories and annotations (boxes, polygons, run-length masks; Lin et al., 2014).
Fields that defectloop's own export added to an image (`pipelines.interchange.carried`) are read back."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from models.errors import BadData
from models.vocabulary import Label
from pipelines.adapters import coco_masks
from pipelines.ingest import shapes
from pipelines.ingest.deliveries import Box, Delivery, Source
from pipelines.ingest.delivery_folder import DeliveryFolder
from pipelines.ingest.texts import json_files, only_json_file, read_json
from pipelines.interchange import carried


@dataclass(frozen=True)
class _Annotation:
    box: Box
    polygons: list[list[float]]
    runs: dict[str, Any] | None


def _holds(data: bytes) -> bool:
    return data.lstrip()[:1] == b"{" and b'"images"' in data and b'"categories"' in data


def recognises(folder: DeliveryFolder) -> bool:
    """Return whether this is a COCO file, or a folder with one at its top or in `annotations/`."""
    return bool(json_files(folder, _holds))


def read(folder: DeliveryFolder, slice: str | None = None) -> Source:
    """Read every image of the file. Images without annotations are good.

    Image files are searched beside the COCO file, in a folder `images`, and in the same places one folder up. Raises BadData
    for invalid content, naming the file and the id of the image or annotation.
    """
    notes = only_json_file(folder, _holds, "COCO")
    content = read_json(folder, notes)
    names = {entry["id"]: _type(entry) for entry in _entries(notes, content, "categories", "name")}
    entries = _entries(notes, content, "images", "file_name")
    licences = {
        entry["id"]: entry["name"]
        for entry in _entries(notes, content | {"licenses": content.get("licenses") or []}, "licenses", "name")
    }
    ids = {entry["id"] for entry in entries}
    remarks: dict[str, list[str]] = defaultdict(list)
    by_image: dict[Any, list[dict]] = defaultdict(list)
    stated = "annotations" in content  # without this key, the images are unlabelled rather than good
    annotations = content.get("annotations", [])
    if not isinstance(annotations, list):
        raise _bad(f"{notes}: `annotations` is not a list")
    for number, entry in enumerate(annotations, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("image_id"), int | str):
            raise _bad(f"{notes}: annotation number {number} has no image_id")
        if entry["image_id"] not in ids:
            remarks["annotation of an image that the file does not list"].append(f"annotation {entry.get('id')}")
            continue
        if entry.get("iscrowd"):
            remarks["crowd annotation, read as an ordinary annotation"].append(f"annotation {entry.get('id')}")
        by_image[entry["image_id"]].append(entry)
    deliveries = [
        _delivery(folder, notes, entry, by_image[entry["id"]], names, licences, slice, remarks) for entry in entries
    ]
    if not stated:
        remarks["image in a file without annotations, ingested without a label"] += [item.name for item in deliveries]
        deliveries = [
            item if item.label != Label.GOOD else replace(item, label=None, boxes=None, labelled_by=None)
            for item in deliveries
        ]
    return Source(notes.stem, deliveries, remarks)


def _bad(what: str) -> BadData:
    return BadData(f"{what}.", next_step="Correct the file, or export it again as COCO.")


def _entries(notes: Path, content: Any, part: str, needed: str) -> list[dict[str, Any]]:
    """Return the objects of a list, checked for unique ids and the field `needed`. Raises BadData."""
    entries = content.get(part) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise _bad(f"{notes} is not a COCO file: it has no list of {part}")
    seen: set[Any] = set()
    for number, entry in enumerate(entries, start=1):
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("id"), int | str)
            or not isinstance(entry.get(needed), str)
        ):
            raise _bad(f"{notes}: entry {number} of {part} has no id or no {needed}")
        if entry["id"] in seen:
            raise _bad(f"{notes}: two entries of {part} have the id {entry['id']}")
        seen.add(entry["id"])
    twice = [name for name, n in Counter(entry[needed] for entry in entries).items() if n > 1]
    if part == "images" and twice:
        raise _bad(f"{notes}: image {twice[0]} is listed twice")
    return entries


def _type(category: dict[str, Any]) -> str | None:
    """Return the defect type. None for the category that our export uses for boxes without a type."""
    own = category.get(carried.KEY)
    return None if isinstance(own, dict) and own.get("untyped") else str(category["name"])


def _delivery(
    folder: DeliveryFolder,
    notes: Path,
    entry: dict[str, Any],
    annotations: list[dict],
    names: dict[Any, str | None],
    licences: dict[Any, str],
    slice: str | None,
    remarks: dict[str, list[str]],
) -> Delivery:
    name = entry["file_name"].replace("\\", "/")
    where = f"{notes}, image {entry['id']}"
    file = _image(folder, notes, name)
    size = (entry.get("width"), entry.get("height"))
    if None not in size and shapes.upright_size(file) not in (size, None):
        remarks["image size differs from the size in the file, so boxes may be misplaced"].append(name)
    read = [_annotation(f"{notes}, annotation {one.get('id')}", one, names) for one in annotations]
    masked = [one for one in read if one.polygons or one.runs]
    sealed = carried.seal(
        [[names[one["category_id"]], one.get("bbox"), one.get("segmentation")] for one in annotations]
    )
    delivery = Delivery(
        name=name,
        read=partial(folder.read, file),
        slice=slice or "default",
        label=(Label.DEFECT if annotations else Label.GOOD).value,
        defect_types=tuple(dict.fromkeys(one.box.defect_type for one in read if one.box.defect_type)),
        mask=partial(_mask, file, where, masked) if masked else None,
        boxes=[one.box for one in read],
        labelled_by=f"COCO {notes.name}",
        licence=licences.get(entry["license"]) if isinstance(entry.get("license"), int | str) else None,
    )
    own = entry.get(carried.KEY)
    fields = carried.fields(own, sealed, where)
    if isinstance(own, dict) and "label" in fields and own.get("mask") == "empty":
        fields["mask"] = partial(_mask, file, where, ())
    return replace(delivery, **fields)


def _image(folder: DeliveryFolder, notes: Path, name: str) -> Path:
    """Return the image file near the COCO file. Of absolute paths from another machine, only the file name is used."""
    places = (notes.parent, notes.parent / "images", notes.parent.parent, notes.parent.parent / "images")
    names = dict.fromkeys((name, PurePosixPath(name).name))
    candidates = (place / candidate for place in places for candidate in names)
    if file := folder.first_of(candidates):
        return file
    raise BadData(f"{notes}: image {name} does not exist.", next_step=f"Copy it to {notes.parent}/images.")


def _annotation(where: str, entry: dict[str, Any], names: dict[Any, str | None]) -> _Annotation:
    if not isinstance(entry.get("category_id"), int | str) or entry["category_id"] not in names:
        raise _bad(f"{where}: unknown category {entry.get('category_id')!r}")
    shape = entry.get("segmentation") or None
    polygons: list[list[float]] = []
    runs = None
    if isinstance(shape, dict):
        try:
            coco_masks.check_runs(shape)
        except ValueError as error:
            raise _bad(f"{where}: {error}") from error
        runs = shape
    elif isinstance(shape, list):
        polygons = [shapes.polygon(points, where) for points in shape]
    elif shape is not None:
        raise _bad(f"{where}: the segmentation is neither polygons nor run lengths")
    box = entry.get("bbox") or _bounds(polygons, runs)
    if box is None:
        raise _bad(f"{where} has neither a bbox nor a segmentation")
    return _Annotation(shapes.box(box, names[entry["category_id"]], where), polygons, runs)


def _bounds(polygons: list[list[float]], runs: dict[str, Any] | None) -> Sequence[float] | None:
    if polygons:
        xs = [x for points in polygons for x in points[::2]]
        ys = [y for points in polygons for y in points[1::2]]
        return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
    if runs is None:
        return None
    at = np.argwhere(coco_masks.from_runs(runs))
    if not len(at):
        return None
    (top, left), (bottom, right) = at.min(0).tolist(), at.max(0).tolist()
    return left, top, right - left + 1, bottom - top + 1


def _mask(file: Path, where: str, annotations: Sequence[_Annotation]) -> bytes:
    polygons = [points for one in annotations for points in one.polygons]
    return shapes.mask_png(file, where, polygons, (coco_masks.from_runs(one.runs) for one in annotations if one.runs))
