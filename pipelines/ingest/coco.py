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

from models.errors import BadData, UnreadableImage
from models.vocabulary import Label
from pipelines import kept
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
        entries = [(entry["id"], str(entry["file_name"]), entry) for entry in content["images"]]
    except json.JSONDecodeError as error:
        raise BadData(f"{path}, line {error.lineno}: {error.msg}.", next_step="Correct the file.") from error
    except (KeyError, TypeError) as error:
        raise BadData(f"{path} is no COCO file: {error} is missing.", next_step="Export it again as COCO.") from error
    return Source(
        path.stem, [_delivery(path, name, by_image[number], names, slice, entry) for number, name, entry in entries]
    )


def _delivery(notes: Path, name: str, found: list[dict], names: dict, slice: str | None, entry: dict) -> Delivery:
    file = next((place / name for place in (notes.parent, notes.parent / "images") if (place / name).is_file()), None)
    if file is None:
        raise BadData(f"{notes}: image {name} does not exist.", next_step=f"Put it below {notes.parent}/images.")
    boxes = [_box(notes, one, names) for one in found]
    types = tuple(dict.fromkeys(box.defect_type or "" for box in boxes))
    stated = [box for box, one in zip(boxes, found, strict=True) if not kept.mask_only(one)]
    shapes = [one["segmentation"] for one in found if one.get("segmentation")]
    plain: dict[str, Any] = {
        "slice": slice or "default",
        "label": (Label.DEFECT if found else Label.GOOD).value,
        "defect_types": types,
        "labelled_by": f"COCO {notes.name}",
    }
    return Delivery(
        name=name,
        read=file.read_bytes,
        mask=partial(_filled, notes, file, shapes) if shapes else None,
        boxes=kept.boxes(entry, stated),
        **plain | kept.in_entry(entry),
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


def _filled(notes: Path, file: Path, shapes: list) -> bytes:
    """The union of polygons and run lengths, compressed or not, as PNG."""
    from pycocotools import mask as coco_mask

    with Image.open(file) as image:
        picture = Image.new("L", image.size)
    for shape in shapes:
        try:
            if isinstance(shape, dict):
                height, width = (int(side) for side in shape["size"])
                if isinstance(shape["counts"], list):
                    if sum(shape["counts"]) != height * width:
                        raise ValueError(f"run lengths sum to {sum(shape['counts'])}, not {height * width}")
                    shape = coco_mask.frPyObjects(shape, height, width)
                decoded = coco_mask.decode(shape)
                if decoded.shape != picture.size[::-1]:
                    raise ValueError(f"a mask of {width}×{height} px for an image of {picture.width}×{picture.height}")
                picture.paste(255, mask=Image.fromarray(decoded * np.uint8(255)))
            else:
                for points in shape:
                    outline = list(zip(points[::2], points[1::2], strict=True))
                    if len(outline) < 3:
                        raise ValueError(f"a polygon of {len(outline)} points")
                    ImageDraw.Draw(picture).polygon(outline, fill=255)
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableImage(
                f"{notes}, image {file.name}: {error}", next_step="Correct the annotation."
            ) from error
    sink = io.BytesIO()
    picture.save(sink, format="PNG")
    return sink.getvalue()
