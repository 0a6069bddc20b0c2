"""COCO: one JSON file with images, categories and annotations: boxes, polygons, and run-length masks (Lin et al., 2014)."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from models.errors import BadData
from models.vocabulary import Label
from pipelines.ingest.deliveries import Box, Delivery, Source


def recognises(path: Path) -> bool:
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    head = path.read_text(errors="replace")[:100_000_000]
    return '"images"' in head and '"categories"' in head


def read(path: Path, slice: str | None = None) -> Source:
    """Every image of the file, found beside it or in a folder `images`; images without annotations are good parts.

    Raises BadData for broken JSON, missing images, unknown categories, and masks that can't be read.
    """
    try:
        content = json.loads(path.read_text())
        names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        by_image: dict[Any, list[dict]] = defaultdict(list)
        for entry in content.get("annotations", []):
            by_image[entry["image_id"]].append(entry)
        entries = [(entry["id"], str(entry["file_name"])) for entry in content["images"]]
    except json.JSONDecodeError as error:
        raise BadData(f"{path}, line {error.lineno}: {error.msg}.", next_step="Correct the file.") from error
    except (KeyError, TypeError) as error:
        raise BadData(f"{path} is no COCO file: {error} is missing.", next_step="Export it again as COCO.") from error
    return Source(path.stem, [_delivery(path, name, by_image[number], names, slice) for number, name in entries])


def _delivery(notes: Path, name: str, found: list[dict], names: dict, slice: str | None) -> Delivery:
    file = next((place / name for place in (notes.parent, notes.parent / "images") if (place / name).is_file()), None)
    if file is None:
        raise BadData(f"{notes}: image {name} does not exist.", next_step=f"Put it below {notes.parent}/images.")
    boxes = [_box(notes, entry, names) for entry in found]
    shapes = [entry["segmentation"] for entry in found if entry.get("segmentation")]
    for shape in shapes:
        if isinstance(shape, dict) and isinstance(shape.get("counts"), str):
            raise BadData(
                f"{notes}: the masks of {name} are compressed run lengths.",
                next_step="Export polygons or uncompressed run lengths (counts as a list).",
            )
    return Delivery(
        name=name,
        read=file.read_bytes,
        slice=slice or "default",
        label=(Label.DEFECT if found else Label.GOOD).value,
        defect_types=tuple(dict.fromkeys(box.defect_type or "" for box in boxes)),
        mask=partial(_filled, file, shapes) if shapes else None,
        boxes=boxes,
        labelled_by=f"COCO {notes.name}",
    )


def _box(notes: Path, entry: dict, names: dict) -> Box:
    try:
        x, y, width, height = (float(value) for value in entry["bbox"])
        return Box(x, y, width, height, names[entry["category_id"]])
    except (KeyError, TypeError, ValueError) as error:
        raise BadData(
            f"{notes}: annotation {entry.get('id')} has no bbox of four numbers or an unknown category.",
            next_step="Correct the annotation.",
        ) from error


def _filled(file: Path, shapes: list) -> bytes:
    with Image.open(file) as image:
        picture = Image.new("L", image.size)
    for shape in shapes:
        if isinstance(shape, dict):
            height, width = shape["size"]
            values = np.repeat(np.arange(len(shape["counts"])) % 2, shape["counts"])
            mask = Image.fromarray((values.reshape(width, height).T * 255).astype(np.uint8))
            picture.paste(255, mask=mask)
        else:
            for points in shape:
                ImageDraw.Draw(picture).polygon(list(zip(points[::2], points[1::2], strict=True)), fill=255)
    sink = io.BytesIO()
    picture.save(sink, format="PNG")
    return sink.getvalue()
