"""Results of a Label Studio annotation: choices, rectangles, polygons, ellipses and brush masks. Coordinates are in
percent of the image size (https://labelstud.io/guide/task_format)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import BadData, UnreadableImage
from models.images import codec
from pipelines.ingest import shapes
from pipelines.ingest.deliveries import Box
from pipelines.interchange import brush

_LABELS = ("rectanglelabels", "polygonlabels", "ellipselabels", "brushlabels", "labels", "choices")
_NUMBERS = ("x", "y", "width", "height", "rotation", "radiusX", "radiusY")
_CORNERS = 96  # of the polygon that approximates an ellipse, with an error below a thousandth of its radius
_NEXT = "Correct it in Label Studio and export again."


@dataclass(frozen=True)
class Result:
    """`kind` is choices, rectangle, polygon, ellipse or brush; `value` holds the numbers, `size` the image size."""

    kind: str
    labels: tuple[str, ...]
    value: dict[str, Any]
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Brush:
    rle: list[int]
    width: int
    height: int


@dataclass(frozen=True)
class Regions:
    boxes: list[Box] = field(default_factory=list)
    polygons: list[list[float]] = field(default_factory=list)
    brushes: list[Brush] = field(default_factory=list)


def short(where: str) -> str:
    """Return the location without the file name, starting at the task."""
    return where[where.rindex(", task ") + 2 :]


def from_full(entries: Any, where: str, remarks: dict[str, list[str]]) -> list[Result]:
    """Read the results of a full export. Labels are joined to the region with the same id."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadData(f"{where}: `result` is not a list of objects.", next_step=_NEXT)
    by_id: dict[tuple[str, str], Result] = {}
    for number, entry in enumerate(entries, start=1):
        result = _result(entry, f"{where}, result {entry.get('id', number)}", remarks)
        if result is None:
            continue
        name = (str(entry.get("id", number)), result.kind)
        if name in by_id:
            labels = tuple(dict.fromkeys([*by_id[name].labels, *result.labels]))
            result = Result(result.kind, labels, by_id[name].value, by_id[name].size)
        by_id[name] = result
    return list(by_id.values())


def from_min(task: dict[str, Any], where: str, remarks: dict[str, list[str]]) -> list[Result]:
    """Read the results of a JSON-MIN task, which are mixed with its other columns.

    A plain text is a choice if it stands where Label Studio writes its results: between the task's id and its annotator.
    """
    names = list(task)
    between = slice(
        names.index("id") + 1 if "id" in task else 0, names.index("annotator") if "annotator" in task else 0
    )
    results = []
    for name, value in task.items():
        if isinstance(value, str) and name in names[between]:
            value = {"choices": [value]}
        entries = value if isinstance(value, list) else [value]
        for number, entry in enumerate(entries, start=1):
            if isinstance(entry, dict) and _kind(entry) is not None:
                stated = {key: entry.get(key) for key in ("original_width", "original_height", "image_rotation")}
                result = _result({"value": entry, **stated}, f"{where}, {name} {number}", remarks)
                results += [result] if result else []
    return results


def _result(entry: dict[str, Any], where: str, remarks: dict[str, list[str]]) -> Result | None:
    value = entry.get("value")
    kind = _kind(value) if isinstance(value, dict) else None
    if not isinstance(value, dict) or kind is None:
        remarks[f"result of the type {entry.get('type', 'unknown')}, which is not supported"].append(short(where))
        return None
    if entry.get("type") == "choices" and kind != "choices":
        remarks["choice for a single region, which is not supported"].append(short(where))
        return None
    if entry.get("image_rotation"):
        raise BadData(
            f"{where} was drawn on an image rotated by {entry['image_rotation']} degrees.",
            next_step="Rotate the file itself and label it again, or remove the task from the export.",
        )
    labels: list[str] = []
    for name in _LABELS:
        given = value.get(name) or []
        if not isinstance(given, list) or not all(isinstance(label, str) for label in given):
            raise BadData(f"{where}: `{name}` is not a list of texts.", next_step=_NEXT)
        labels += given
    size = (entry.get("original_width"), entry.get("original_height"))
    has_size = all(isinstance(side, int) and side > 0 for side in size)
    return Result(kind, tuple(labels), _numbers(kind, value, where), size if has_size else None)  # type: ignore[arg-type]


def _kind(value: dict[str, Any]) -> str | None:
    if "rle" in value:
        return "brush"
    if "points" in value:
        return "polygon"
    if "radiusX" in value:
        return "ellipse"
    if "width" in value and "height" in value:
        return "rectangle"
    return "choices" if "choices" in value else None


def _numbers(kind: str, value: dict[str, Any], where: str) -> dict[str, Any]:
    if kind == "choices":
        return {}
    if kind == "brush":
        try:
            if not isinstance(value["rle"], list):
                raise ValueError("`rle` is not a list of numbers")
            brush.words(value["rle"])
        except ValueError as error:
            raise BadData(f"{where}: {error}.", next_step=_NEXT) from error
        return {"rle": value["rle"]}
    if kind == "polygon":
        points = value["points"]
        if not isinstance(points, list) or not all(isinstance(point, list) for point in points):
            raise BadData(f"{where}: `points` is not a list of pairs.", next_step=_NEXT)
        for point in points:
            if len(shapes.numbers(point, where, "point")) != 2:
                raise BadData(f"{where}: a point of its polygon has {len(point)} coordinates, not 2.", next_step=_NEXT)
        flat = [number for point in points for number in point]
        return {"points": shapes.polygon(flat, where)}
    names = [name for name in _NUMBERS if name in value]
    needed = {"x", "y", *(("radiusX", "radiusY") if kind == "ellipse" else ("width", "height"))}
    if needed - set(names):
        raise BadData(f"{where}: its {kind} has no {', '.join(sorted(needed - set(names)))}.", next_step=_NEXT)
    numbers_of = dict(zip(names, shapes.numbers([value[name] for name in names], where, kind), strict=True))
    for name in needed - {"x", "y"}:
        if numbers_of[name] <= 0:
            raise BadData(f"{where}: the {name} of its {kind} is {numbers_of[name]:g}.", next_step=_NEXT)
    return numbers_of


def regions(
    results: Sequence[Result], size: tuple[int, int] | None, where: str, remarks: dict[str, list[str]]
) -> Regions:
    """Convert percent to pixels of the upright image of `size` (width, height). Without a size, only brushes are read."""
    areas = Regions()
    for result in results:
        if result.kind == "brush":
            width, height = result.size or size or (0, 0)
            n_words = brush.words(result.value["rle"])
            if width * height > codec.MAX_PIXELS:
                raise BadData(
                    f"{where}: its brush mask has {width}×{height} px, more than the limit of {codec.MAX_PIXELS:,}.",
                    next_step=_NEXT,
                )
            if n_words not in (width * height, width * height * 4):
                raise BadData(
                    f"{where}: its brush mask has {n_words} values instead of {width * height * 4} for {width}×{height} px.",
                    next_step=_NEXT,
                )
            areas.brushes.append(Brush(result.value["rle"], width, height))
            continue
        width, height = size or result.size or (0, 0)
        if not width or not height:
            continue
        points = _corners(result, width, height)
        if result.kind == "rectangle":
            if result.value.get("rotation", 0) % 90:
                remarks["rotated rectangle, replaced by the upright box around it"].append(short(where))
        else:
            areas.polygons.append(points)
        kinds: Sequence[str | None] = result.labels or (None,)
        areas.boxes.extend(shapes.box(shapes.bounds(points), kind, where) for kind in kinds)
    return areas


def _corners(result: Result, width: int, height: int) -> list[float]:
    """Return x, y, x, y, … in pixels. Rectangles rotate about their upper left corner, ellipses about their centre."""
    value = result.value
    if result.kind == "polygon":
        return [number * (height if at % 2 else width) / 100 for at, number in enumerate(value["points"])]
    x, y = value["x"] * width / 100, value["y"] * height / 100
    if result.kind == "ellipse":
        across, down = value["radiusX"] * width / 100, value["radiusY"] * height / 100
        angles = [2 * math.pi * step / _CORNERS for step in range(_CORNERS)]
        around = [(across * math.cos(angle), down * math.sin(angle)) for angle in angles]
    else:
        across, down = value["width"] * width / 100, value["height"] * height / 100
        around = [(0.0, 0.0), (across, 0.0), (across, down), (0.0, down)]
    turn = math.radians(value.get("rotation", 0))
    sin, cos = (0.0, 1.0) if not turn else (math.sin(turn), math.cos(turn))
    return [number for dx, dy in around for number in (x + dx * cos - dy * sin, y + dx * sin + dy * cos)]


def mask_png(file: Path, where: str, areas: Regions) -> bytes:
    """Draw all polygons and brushes of an image as one mask. Raises UnreadableImage for truncated run lengths."""
    try:
        drawn = [brush.alpha(one.rle, width=one.width, height=one.height) for one in areas.brushes]
    except ValueError as error:
        raise UnreadableImage(f"{where}: {error}.", next_step=_NEXT) from error
    return shapes.mask_png(file, where, areas.polygons, drawn)
