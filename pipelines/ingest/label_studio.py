"""Label Studio's JSON and JSON-MIN exports: choices, rectangles, ellipses, polygons and brushes, in percent of the image."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import numpy as np
from PIL import Image, ImageDraw

from models.errors import BadData, UnreadableImage
from models.vocabulary import Label
from pipelines import brush, kept
from pipelines.ingest.deliveries import Box, Delivery, Source
from pipelines.ingest.folder import SUFFIXES, is_good

LABELS = ("rectanglelabels", "ellipselabels", "polygonlabels", "brushlabels")
SHAPES = LABELS[1:]  # what a mask is made of; rectangles are boxes


def recognises(path: Path) -> bool:
    """A JSON list of tasks: with `data` (JSON), or with an image and an `annotator` (JSON-MIN)."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    head = path.read_text(errors="replace")[:20_000].lstrip()
    return head.startswith("[") and ('"data"' in head or '"annotator"' in head or '"lead_time"' in head)


def read(path: Path, slice: str | None = None) -> Source:
    """Every task's image with its last annotation that was not cancelled; without one, it has no label.

    Raises BadData for broken JSON, images that are not there, and results that can't be read, naming the task.
    """
    try:
        tasks = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        line = f", line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else " is no UTF-8 text"
        raise BadData(f"{path}{line}.", next_step="Export it again from Label Studio as JSON.") from error
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise BadData(f"{path} is no list of tasks.", next_step="Export it again from Label Studio as JSON.")
    return Source(path.stem, [_delivery(path, task, slice) for task in tasks])


def _delivery(notes: Path, task: dict[str, Any], slice: str | None) -> Delivery:
    name = f"{notes}, task {task.get('id', '?')}"
    data = task["data"] if isinstance(task.get("data"), dict) else task
    file = _image(notes, name, task, data)
    results, who, when = _last(task)
    try:
        boxes = [_box(result) for result in results or () if _kind(result) == "rectanglelabels"]
        shapes = [result for result in results or () if _kind(result) in SHAPES]
        chosen = [choice for result in results or () for choice in result["value"].get("choices", ())]
        marked = [word for result in results or () for word in result["value"].get(_kind(result) or "", ())]
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise BadData(
            f"{name}: a result can't be read ({type(error).__name__}: {error}).",
            next_step="Correct it, or export the task again.",
        ) from error
    types = tuple(dict.fromkeys([*(word for word in chosen if not is_good(word) and word != Label.DEFECT), *marked]))
    defective = bool(boxes or shapes or any(not is_good(word) for word in chosen))
    said: dict[str, Any] = {
        "slice": slice or "default",
        "label": None if results is None else (Label.DEFECT if defective else Label.GOOD).value,
        "defect_types": types,
        "labelled_by": None if results is None else f"Label Studio {who}".strip(),
        "labelled_at": when,
    }
    return Delivery(
        name=file.name,
        read=file.read_bytes,
        boxes=kept.boxes(data, boxes) if boxes or kept.KEY in data or _searched(results, shapes, chosen) else None,
        mask=partial(_mask, name, shapes) if shapes else None,
        **said | kept.in_entry(data),
    )


def _searched(results: list[dict[str, Any]] | None, shapes: list[dict[str, Any]], chosen: list[str]) -> bool:
    """An annotation without anything in it says that somebody looked and found nothing."""
    return results is not None and not shapes and not chosen


def _last(task: dict[str, Any]) -> tuple[list[dict[str, Any]] | None, str, str | None]:
    """Results, who and when; None when nobody has annotated the task."""
    if "annotations" not in task and "data" not in task:
        found = [
            result for value in task.values() if isinstance(value, list) for result in value if isinstance(result, dict)
        ]
        results = [{"value": result, **result} for result in found]
        choice = task.get("choice") or task.get("label")
        if isinstance(choice, str):
            results.append({"value": {"choices": [choice]}})
        return results, str(task.get("annotator", "")), task.get("updated_at") or task.get("created_at")
    done = [one for one in task.get("annotations") or () if not one.get("was_cancelled")]
    if not done:
        return None, "", None
    last = max(done, key=lambda one: str(one.get("updated_at") or one.get("created_at") or ""))
    who = last.get("completed_by", "")
    who = who.get("email") or who.get("id", "") if isinstance(who, dict) else who
    return list(last.get("result") or ()), str(who), last.get("updated_at") or last.get("created_at")


def _kind(result: dict[str, Any]) -> str | None:
    return next((kind for kind in LABELS if kind in result["value"]), None)


def _size(result: dict[str, Any]) -> tuple[int, int]:
    return int(result["original_width"]), int(result["original_height"])


def _box(result: dict[str, Any]) -> Box:
    """Upright, around a rectangle that may be turned about its upper left corner."""
    (width, height), value = _size(result), result["value"]
    x, y = value["x"] * width / 100, value["y"] * height / 100
    wide, tall = value["width"] * width / 100, value["height"] * height / 100
    turn = math.radians(value.get("rotation") or 0)
    corners = [
        (x + across * math.cos(turn) - down * math.sin(turn), y + across * math.sin(turn) + down * math.cos(turn))
        for across, down in ((0, 0), (wide, 0), (0, tall), (wide, tall))
    ]
    left, top = (min(corner[axis] for corner in corners) for axis in (0, 1))
    right, bottom = (max(corner[axis] for corner in corners) for axis in (0, 1))
    if not all(map(math.isfinite, (left, top, right, bottom))) or right <= left or bottom <= top:
        raise ValueError(f"a rectangle from {left:g}, {top:g} to {right:g}, {bottom:g}")
    kinds = value["rectanglelabels"]
    return Box(left, top, right - left, bottom - top, kinds[0] if kinds else None)


def _mask(name: str, shapes: list[dict[str, Any]]) -> bytes:
    width, height = _size(shapes[0])
    picture = Image.new("L", (width, height))
    for shape in shapes:
        value = shape["value"]
        try:
            if "brushlabels" in value:
                picture.paste(
                    255, mask=Image.fromarray(brush.decode(value["rle"], width, height).astype(np.uint8) * 255)
                )
            elif "polygonlabels" in value:
                outline = [(x * width / 100, y * height / 100) for x, y in value["points"]]
                ImageDraw.Draw(picture).polygon(outline, fill=255)
            else:
                ImageDraw.Draw(picture).polygon(list(_ellipse(value, width, height)), fill=255)
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableImage(f"{name}: {error}", next_step="Correct the annotation.") from error
    sink = io.BytesIO()
    picture.save(sink, format="PNG")
    return sink.getvalue()


def _ellipse(value: dict[str, Any], width: int, height: int) -> Iterator[tuple[float, float]]:
    turn = math.radians(value.get("rotation") or 0)
    for step in range(72):
        angle = step * math.tau / 72
        across = value["radiusX"] * width / 100 * math.cos(angle)
        down = value["radiusY"] * height / 100 * math.sin(angle)
        yield (
            value["x"] * width / 100 + across * math.cos(turn) - down * math.sin(turn),
            value["y"] * height / 100 + across * math.sin(turn) + down * math.cos(turn),
        )


def _image(notes: Path, name: str, task: dict[str, Any], data: dict[str, Any]) -> Path:
    """The image's file, beside the export or in its folder `images`: under its path, its name, or its name before upload."""
    texts = [value for value in data.values() if isinstance(value, str)]
    said = next((text for text in texts if Path(_path(text)).suffix.lower() in SUFFIXES), None)
    if said is None:
        raise BadData(f"{name} names no image.", next_step=f"Images end with {', '.join(sorted(SUFFIXES))}.")
    path = _path(said)
    plain = Path(path).name
    before_upload = re.sub(r"^[0-9a-f]{8}-", "", plain)
    for candidate in (path.lstrip("/"), f"images/{plain}", plain, f"images/{before_upload}", before_upload):
        if (notes.parent / candidate).is_file():
            return notes.parent / candidate
    raise BadData(f"{name}: image {plain} does not exist.", next_step=f"Put it into {notes.parent}/images.")


def _path(said: str) -> str:
    """The path in `/data/local-files/?d=a/b.png`, in a URL, or as it is."""
    parts = urlparse(said)
    local = parse_qs(parts.query).get("d")
    return local[0] if local else unquote(parts.path)
