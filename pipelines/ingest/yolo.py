"""YOLO: one text file per image with a box (class, centre, size) or a polygon per line, relative to the image size.
`data.yaml`, `classes.txt` or `obj.names` lists the class names."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path

from models.errors import BadData
from models.vocabulary import Label
from pipelines.ingest import shapes, splits
from pipelines.ingest.deliveries import Box, Delivery, Source
from pipelines.ingest.delivery_folder import DeliveryFolder
from pipelines.ingest.texts import read_text, read_yaml
from pipelines.interchange import carried

DATA_FILES = ("data.yaml", "data.yml")
NAME_LISTS = ("classes.txt", "obj.names")
Polygons = list[list[float]]


def recognises(folder: DeliveryFolder) -> bool:
    labelled = (folder.path / "labels").is_dir()
    named = (*DATA_FILES, *NAME_LISTS) if labelled else DATA_FILES
    return any((folder.path / name).is_file() for name in named)


def read(folder: DeliveryFolder, slice: str | None = None) -> Source:
    """Read images with boxes; polygons also become a mask. A folder train, val or test in the image's path is its split.

    An image without a label file has no label; one with an empty label file is good. Raises BadData with file and line.
    """
    names = _class_names(folder)
    files = folder.images()
    remarks: dict[str, list[str]] = defaultdict(list)
    notes = {path: _label_file(path, folder.path) for path in files}
    used = set(notes.values())
    for path in folder.found((".txt",)):
        inside = "labels" in path.relative_to(folder.path).parts[:-1]
        if path not in used and inside and path.name not in NAME_LISTS:
            remarks["label file without image"].append(folder.name_of(path))
    return Source(
        folder.root.name, [_delivery(path, notes[path], folder, names, slice, remarks) for path in files], remarks
    )


def _class_names(folder: DeliveryFolder) -> dict[int, str | None]:
    """Return class number to defect type. None for the class that our export uses for boxes without a type."""
    places = [folder.path / name for name in (*DATA_FILES, *NAME_LISTS)]
    path = next((place for place in places if folder.file(place)), None)
    if path is None:
        path = folder.path / "data.yaml"
        raise BadData(f"{path} is missing.", next_step="Create it and list the classes under `names:`.")
    if path.name in NAME_LISTS:
        lines = [line.strip() for line in read_text(folder, path).splitlines()]
        return dict(enumerate(line for line in lines if line))
    content = read_yaml(folder, path)
    names = content.get("names") if isinstance(content, dict) else None
    if not names or not isinstance(names, list | dict):
        raise BadData(f"{path} has no names.", next_step="List the classes under `names:`.")
    pairs = names.items() if isinstance(names, dict) else enumerate(names)
    numbered: dict[int, str | None] = {}
    for number, name in pairs:
        if isinstance(number, bool) or not (isinstance(number, int) or str(number).isdecimal()):
            raise BadData(
                f"{path}: the class {str(number)[:60]} under `names:` has no number.", next_step="Write `0: scratch`."
            )
        if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
            raise BadData(
                f"{path}: the name of class {number} is {str(name)[:60] or 'empty'}, which is not text.",
                next_step=f'Write it in quotes: `{number}: "no"`.',
            )
        numbered[int(number)] = str(name)
    own = content.get(carried.KEY)
    if isinstance(own, dict) and isinstance(own.get("untyped"), int) and own["untyped"] in numbered:
        numbered[own["untyped"]] = None
    return numbered


def _label_file(path: Path, folder: Path) -> Path:
    parts = ["labels" if part == "images" else part for part in path.relative_to(folder).parts]
    return folder.joinpath(*parts).with_suffix(".txt")


def _delivery(
    path: Path,
    notes: Path,
    folder: DeliveryFolder,
    names: dict[int, str | None],
    slice: str | None,
    remarks: dict[str, list[str]],
) -> Delivery:
    relative = path.relative_to(folder.path)
    split = next((splits.NAMED[part].value for part in relative.parts[:-1] if part in splits.NAMED), None)
    ground_truth: dict = {}
    if folder.file(notes):
        size = shapes.upright_size(path)
        # Unreadable images are ingested too, so that the data contract reports them; only their size is unknown.
        objects, polygons = _parse(read_text(folder, notes), notes, names, *(size or (1, 1)))
        ground_truth = {
            "label": (Label.DEFECT if objects else Label.GOOD).value,
            "defect_types": tuple(dict.fromkeys(box.defect_type for box in objects if box.defect_type)),
            "boxes": objects if size else None,
            "mask": partial(shapes.mask_png, path, str(notes), polygons) if polygons else None,
            "labelled_by": f"YOLO {notes.name}",
        }
    else:
        remarks["image without a label file, ingested without a label"].append(relative.as_posix())
    return Delivery(
        name=relative.as_posix(), read=partial(folder.read, path), slice=slice or "default", split=split, **ground_truth
    )


def _parse(
    lines: str, notes: Path, names: dict[int, str | None], width: int, height: int
) -> tuple[list[Box], Polygons]:
    objects: list[Box] = []
    polygons: Polygons = []
    for number, text in enumerate(lines.splitlines(), start=1):
        if not text.strip():
            continue
        where = f"{notes}, line {number}"
        kind, *values = text.split()
        if not kind.isdecimal() or len(kind) > 9 or int(kind) not in names:
            raise BadData(
                f"{where}: {text[:80]!r} does not begin with a class number ({', '.join(map(str, sorted(names)))}).",
                next_step="Correct the line, or add the class to data.yaml.",
            )
        shares = shapes.numbers(values, where, "line")
        name = names[int(kind)]
        if len(shares) == 4:
            x, y, w, h = shares[0] * width, shares[1] * height, shares[2] * width, shares[3] * height
            objects.append(shapes.box((x - w / 2, y - h / 2, w, h), name, where))
        elif len(shares) < 6:
            raise BadData(
                f"{where}: {len(shares)} numbers after the class are neither a box (4) nor a polygon (6, 8, …).",
                next_step="Correct the line.",
            )
        else:
            points = shapes.polygon(shares, where)
            pixels = [value * (height if at % 2 else width) for at, value in enumerate(points)]
            polygons.append(pixels)
            objects.append(shapes.box(shapes.bounds(pixels), name, where))
    return objects, polygons
