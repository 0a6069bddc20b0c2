"""Pascal VOC: one XML file per image with its boxes (Everingham et al., 2010). Pixel coordinates start at 1."""

from __future__ import annotations

import io
from collections import defaultdict
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from models import names
from models.errors import BadData
from models.vocabulary import Label
from pipelines.ingest import shapes
from pipelines.ingest.deliveries import Box, Delivery, Source
from pipelines.ingest.delivery_folder import DeliveryFolder

SUFFIX = (".xml",)
_MOST_DIGITS = 10  # of a size in pixels


def recognises(folder: DeliveryFolder) -> bool:
    first = next(iter(folder.found(SUFFIX)), None)
    return first is not None and b"<annotation" in folder.read(first)[:500]


def read(folder: DeliveryFolder, slice: str | None = None) -> Source:
    """Read every image with its boxes. Images without an XML file have no label. Raises BadData for invalid XML."""
    files = folder.images()
    xml_files = folder.found(SUFFIX)
    notes = pairs(files, xml_files)
    used = set(notes.values())
    remarks: dict[str, list[str]] = defaultdict(list)
    for path in xml_files:
        if path not in used:
            remarks["XML file without image"].append(folder.name_of(path))
    return Source(
        folder.root.name, [_delivery(path, notes.get(path), folder, slice, remarks) for path in files], remarks
    )


def pairs(files: list[Path], notes: list[Path]) -> dict[Path, Path]:
    """Return image to XML file with the same stem. If there are several, the one in the nearest folder.

    Raises BadData if two XML files are equally near, or one XML file matches two images.
    """
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in notes:
        by_stem[path.stem].append(path)
    notes_of: dict[Path, Path] = {}
    image_of: dict[Path, Path] = {}
    for image in files:
        near = sorted(by_stem.get(image.stem, ()), key=lambda path: _distance(image, path))
        if not near:
            continue
        if len(near) > 1 and _distance(image, near[0]) == _distance(image, near[1]):
            raise BadData(f"{image} has two XML files, {near[0]} and {near[1]}.", next_step="Remove one of them.")
        if near[0] in image_of:
            raise BadData(
                f"{near[0]} belongs to two images, {image_of[near[0]]} and {image}.",
                next_step="Rename one of the images.",
            )
        notes_of[image] = near[0]
        image_of[near[0]] = image
    return notes_of


def _distance(image: Path, notes: Path) -> int:
    """Return the number of folder levels between the two files."""
    here, there = image.parent.parts, notes.parent.parts
    common = next((n for n, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), min(len(here), len(there)))
    return len(here) + len(there) - 2 * common


def boxes(folder: DeliveryFolder, path: Path) -> tuple[list[Box], tuple[int, int] | None]:
    """Return the boxes of an XML file, and the image size that it states. Raises BadData."""
    try:
        tree = ElementTree.parse(io.BytesIO(folder.read(path)))
    except ElementTree.ParseError as error:
        line, column = error.position
        raise BadData(f"{path}, line {line}, column {column}: {error.msg}.", next_step="Correct the file.") from error
    except (ValueError, LookupError) as error:  # an encoding that does not exist
        raise BadData(f"{path}, line 1: {error}.", next_step="Save the file as UTF-8.") from error
    if tree.getroot().tag != "annotation":
        raise BadData(
            f"{path} is not a Pascal VOC file: its root is {names.shown(tree.getroot().tag)[:60]}, not annotation.",
            next_step="Remove it from the delivery, or export it as Pascal VOC.",
        )
    result = []
    for number, item in enumerate(tree.iterfind("object"), start=1):
        where = f"{path}, object {number}"
        sides = [item.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        if None in sides:
            raise BadData(f"{where} has no complete bndbox.", next_step="Correct the file.")
        left, top, right, bottom = shapes.numbers(sides, where, "bndbox")
        kind = (item.findtext("name") or "").strip() or "defect"
        result.append(shapes.box((left - 1, top - 1, right - left + 1, bottom - top + 1), kind, where))
    stated = (tree.findtext("size/width") or "", tree.findtext("size/height") or "")
    has_size = all(side.isdecimal() and len(side) < _MOST_DIGITS for side in stated)
    size = (int(stated[0]), int(stated[1])) if has_size else None
    return result, size if size and all(size) else None


def _delivery(
    path: Path, notes: Path | None, folder: DeliveryFolder, slice: str | None, remarks: dict[str, list[str]]
) -> Delivery:
    name = folder.name_of(path)
    objects, stated = boxes(folder, notes) if notes else (None, None)
    if notes is None:
        remarks["image without an XML file, ingested without a label"].append(name)
    if stated and shapes.upright_size(path) not in (stated, None):
        remarks["image size differs from the size in its XML file, so boxes may be misplaced"].append(name)
    label = None if objects is None else (Label.DEFECT if objects else Label.GOOD).value
    return Delivery(
        name=name,
        read=partial(folder.read, path),
        slice=slice or "default",
        label=label,
        defect_types=tuple(dict.fromkeys(box.defect_type or "defect" for box in objects or ())),
        boxes=objects,
        labelled_by=None if notes is None else f"Pascal VOC {notes.name}",
    )
