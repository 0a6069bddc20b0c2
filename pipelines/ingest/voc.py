"""Pascal VOC: one XML file per image with its boxes (Everingham et al., 2010). Corners count from 1."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from models.errors import BadData
from models.vocabulary import Label
from pipelines.ingest.deliveries import Box, Delivery, Source
from pipelines.ingest.folder import image_files


def recognises(folder: Path) -> bool:
    first = next(iter(sorted(folder.rglob("*.xml"))), None)
    return first is not None and b"<annotation" in first.read_bytes()[:500]


def read(folder: Path, slice: str | None = None) -> Source:
    """Every image with its boxes; images without an XML file come without a label. Raises BadData for broken XML."""
    by_stem = {path.stem: path for path in sorted(folder.rglob("*.xml"))}
    return Source(
        folder.resolve().name,
        [_delivery(path, by_stem.get(path.stem), folder, slice) for path in image_files(folder)],
    )


def boxes(path: Path) -> list[Box]:
    try:
        tree = ElementTree.parse(path)
    except ElementTree.ParseError as error:
        line, column = error.position
        raise BadData(f"{path}, line {line}, column {column}: {error.msg}.", next_step="Correct the file.") from error
    found = []
    for number, item in enumerate(tree.iterfind("object"), start=1):
        try:
            left, top, right, bottom = (
                float(item.findtext(f"bndbox/{side}") or "") for side in ("xmin", "ymin", "xmax", "ymax")
            )
        except ValueError as error:
            raise BadData(f"{path}: object {number} has no complete bndbox.", next_step="Correct the file.") from error
        kind = (item.findtext("name") or "defect").strip()
        found.append(Box(left - 1, top - 1, right - left + 1, bottom - top + 1, kind))
    return found


def _delivery(path: Path, notes: Path | None, folder: Path, slice: str | None) -> Delivery:
    found = boxes(notes) if notes else None
    label = None if found is None else (Label.DEFECT if found else Label.GOOD).value
    return Delivery(
        name=path.relative_to(folder).as_posix(),
        read=path.read_bytes,
        slice=slice or "default",
        label=label,
        defect_types=tuple(dict.fromkeys(box.defect_type or "defect" for box in found or ())),
        boxes=found,
        labelled_by=None if notes is None else f"Pascal VOC {notes.name}",
    )
