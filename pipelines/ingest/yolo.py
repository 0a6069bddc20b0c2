"""YOLO: one text file per image, a box (class, centre, size) or a polygon per line, as shares of the image; `data.yaml`
names the classes."""

from __future__ import annotations

import io
from pathlib import Path

import yaml
from PIL import Image, ImageDraw

from models.errors import BadData
from models.vocabulary import Label, Split
from pipelines.ingest.deliveries import Box, Delivery, Source
from pipelines.ingest.folder import image_files

SPLITS = {"train": Split.TRAIN, "val": Split.VALIDATION, "valid": Split.VALIDATION, "test": Split.TEST}


def recognises(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("data.yaml", "data.yml"))


def read(folder: Path, slice: str | None = None) -> Source:
    """Images with boxes; polygons become a mask too. A folder train, val or test on the way to an image is its split."""
    names = _class_names(folder)
    return Source(
        folder.resolve().name,
        [_delivery(path, folder, names, slice) for path in image_files(folder)],
    )


def _class_names(folder: Path) -> list[str]:
    path = next(folder / name for name in ("data.yaml", "data.yml") if (folder / name).exists())
    names = (yaml.safe_load(path.read_text()) or {}).get("names")
    if not names:
        raise BadData(f"{path} has no names.", next_step="List the classes under `names:`.")
    return [str(names[key]) for key in sorted(names)] if isinstance(names, dict) else [str(name) for name in names]


def _label_file(path: Path, folder: Path) -> Path:
    parts = ["labels" if part == "images" else part for part in path.relative_to(folder).parts]
    return folder.joinpath(*parts).with_suffix(".txt")


def _delivery(path: Path, folder: Path, names: list[str], slice: str | None) -> Delivery:
    notes = _label_file(path, folder)
    relative = path.relative_to(folder)
    split = next((SPLITS[part].value for part in relative.parts[:-1] if part in SPLITS), None)
    said: dict = {}
    if notes.exists():
        with Image.open(path) as image:
            width, height = image.size
        found, polygons = _parse(notes, names, width, height)
        said = {
            "label": (Label.DEFECT if found else Label.GOOD).value,
            "defect_types": tuple(dict.fromkeys(box.defect_type or "" for box in found)),
            "boxes": found,
            "mask": (lambda: _filled(polygons, width, height)) if polygons else None,
            "labelled_by": f"YOLO {notes.name}",
        }
    return Delivery(name=relative.as_posix(), read=path.read_bytes, slice=slice or "default", split=split, **said)


def _parse(notes: Path, names: list[str], width: int, height: int) -> tuple[list[Box], list[list[tuple[float, float]]]]:
    found, polygons = [], []
    for number, text in enumerate(notes.read_text().splitlines(), start=1):
        if not text.strip():
            continue
        try:
            kind, *values = text.split()
            name = names[int(kind)]
            shares = [float(value) for value in values]
        except (ValueError, IndexError) as error:
            raise BadData(
                f"{notes}, line {number}: {text!r} is no class number of data.yaml with numbers after it.",
                next_step="Correct the line.",
            ) from error
        if len(shares) == 4:
            x, y, w, h = shares[0] * width, shares[1] * height, shares[2] * width, shares[3] * height
            found.append(Box(x - w / 2, y - h / 2, w, h, name))
        elif len(shares) >= 6 and len(shares) % 2 == 0:
            points = [(x * width, y * height) for x, y in zip(shares[::2], shares[1::2], strict=True)]
            polygons.append(points)
            xs, ys = zip(*points, strict=True)
            found.append(Box(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys), name))
        else:
            raise BadData(
                f"{notes}, line {number}: {len(shares)} numbers are neither a box (4) nor a polygon (6, 8, …).",
                next_step="Correct the line.",
            )
    return found, polygons


def _filled(polygons: list[list[tuple[float, float]]], width: int, height: int) -> bytes:
    picture = Image.new("L", (width, height))
    for points in polygons:
        ImageDraw.Draw(picture).polygon(points, fill=255)
    sink = io.BytesIO()
    picture.save(sink, format="PNG")
    return sink.getvalue()
