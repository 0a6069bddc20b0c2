"""Label Studio's exports, JSON and JSON-MIN: a list of tasks, each an image with its annotations.

Formats: https://labelstud.io/guide/export and /guide/task_format. Fields that defectloop's own export added to an image
(`pipelines.interchange.carried`) are read back. `pipelines.ingest.label_studio_results` reads the single results.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from models.errors import BadData
from models.vocabulary import Label
from pipelines.ingest import shapes
from pipelines.ingest.deliveries import Delivery, Source
from pipelines.ingest.delivery_folder import IMAGE_SUFFIXES, DeliveryFolder
from pipelines.ingest.folder import DEFECTIVE, is_good
from pipelines.ingest.label_studio_results import Result, from_full, from_min, mask_png, regions, short
from pipelines.ingest.texts import json_files, only_json_file, read_json
from pipelines.interchange import carried
from pipelines.interchange.label_studio import content

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # prefix that Label Studio adds to the name of an uploaded file
_FIRST_KEYS = ("image", "img", "photo", "url")
Remarks = dict[str, list[str]]


@dataclass(frozen=True)
class _Annotation:
    """One person's annotation of one task."""

    where: str
    results: list[Result]
    by: str | None
    at: str
    ground_truth: bool


def _holds(data: bytes) -> bool:
    full = b'"annotations"' in data and b'"data"' in data
    return data.lstrip()[:1] == b"[" and (full or b'"annotation_id"' in data)


def recognises(folder: DeliveryFolder) -> bool:
    """Return whether this is an export, or a folder with one at its top."""
    return bool(json_files(folder, _holds))


def read(folder: DeliveryFolder, slice: str | None = None) -> Source:
    """Read every image of the export with one annotation: the one marked as ground truth, or else the latest.

    Cancelled and further annotations are skipped and listed in the remarks. A task without annotation is an image without a
    label. Raises BadData for invalid content, naming the file and the id of the task or annotation.
    """
    notes = only_json_file(folder, _holds, "Label Studio")
    tasks = read_json(folder, notes)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks) or not tasks:
        raise _bad(f"{notes} is not a list of tasks")
    remarks: Remarks = defaultdict(list)
    by_file: dict[Path, list[_Annotation]] = {}
    data_of: dict[Path, tuple[str, dict[str, Any]]] = {}
    missing: list[str] = []
    for number, task in enumerate(tasks, start=1):
        where = f"{notes}, task {task.get('id', f'number {number}')}"
        data = task["data"] if isinstance(task.get("data"), dict) else task
        address = _address(data, where)
        file = _image(folder, notes.parent, address)
        if file is None:
            missing.append(f"{address}, task {task.get('id', number)}")
            continue
        data_of.setdefault(file, (where, data))
        by_file.setdefault(file, []).extend(_annotations(task, where, remarks))
    if missing:
        raise BadData(
            f"{notes}: {len(missing)} images do not exist (first: {missing[0]}).",
            next_step=f"Copy them beside the file or to {notes.parent / 'images'}; sub-folders are searched too.",
        )
    chosen = {file: _chosen(annotations, remarks) for file, annotations in by_file.items()}
    by_choice = any(result.kind == "choices" for one in chosen.values() if one for result in one.results)
    return Source(
        notes.stem,
        [_delivery(folder, notes, file, one, data_of[file], by_choice, slice, remarks) for file, one in chosen.items()],
        remarks,
    )


def _bad(what: str) -> BadData:
    return BadData(f"{what}.", next_step="Correct it in Label Studio and export it again (JSON or JSON-MIN).")


def _address(data: dict[str, Any], where: str) -> str:
    """Return the address of the task's image. Raises BadData if there is none."""
    keys = [*(key for key in _FIRST_KEYS if key in data), *data]
    for key in keys:
        value = data[key]
        if isinstance(value, str) and Path(_plain(value)).suffix.lower() in IMAGE_SUFFIXES:
            return value
    raise _bad(f"{where} names no image ({', '.join(sorted(IMAGE_SUFFIXES))})")


def _plain(address: str) -> str:
    """Return the path in an address such as `/data/local-files/?d=a/b.png`, `/data/upload/1/b.png`, `s3://bucket/b.png`."""
    parts = urlsplit(address)
    if parts.path.rstrip("/").endswith("local-files"):
        return (parse_qs(parts.query).get("d") or [""])[0]
    return unquote(parts.path if parts.scheme in ("http", "https", "s3", "gs", "azure-blob", "file") else address)


def _image(delivered: DeliveryFolder, folder: Path, address: str) -> Path | None:
    """Return the file that matches the longest end of the address's path, below `folder` or its `images`."""
    names = [part for part in PurePosixPath(_plain(address).replace("\\", "/")).parts if part not in ("/", ".", "..")]
    ends = [names[-1], unquote(names[-1])] if names else []
    lasts = dict.fromkeys([*ends, *(_UPLOADED.sub("", end) for end in ends)])
    return delivered.first_of(
        place.joinpath(*names[start:-1], last)
        for start in range(len(names))
        for last in lasts
        for place in (folder, folder / "images")
    )


def _annotations(task: dict[str, Any], where: str, remarks: Remarks) -> Iterator[_Annotation]:
    if "annotations" not in task and "data" not in task:  # JSON-MIN: a task is one annotation
        if task.get("annotation_id") is not None:
            results = from_min(task, where, remarks)
            yield _Annotation(where, results, _who(task.get("annotator")), _when(task, where), ground_truth=False)
        return
    if task.get("predictions"):
        remarks["model prediction, skipped because it is not ground truth"].append(short(where))
    entries = task.get("annotations") or []
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise _bad(f"{where}: `annotations` is not a list")
    for one in entries:
        at = f"{where}, annotation {one.get('id', 'without id')}"
        if one.get("was_cancelled"):
            remarks["annotation that was skipped or cancelled"].append(short(at))
            continue
        results = from_full(one.get("result") or [], at, remarks)
        yield _Annotation(at, results, _who(one.get("completed_by")), _when(one, at), bool(one.get("ground_truth")))


def _who(person: Any) -> str | None:
    if isinstance(person, dict):
        name = " ".join(str(person[key]) for key in ("first_name", "last_name") if person.get(key))
        return person.get("email") or name or _who(person.get("id"))
    if isinstance(person, int) and not isinstance(person, bool):
        return f"Label Studio user {person}"
    return str(person) if person else None


def _when(entry: dict[str, Any], where: str) -> str:
    moment = entry.get("updated_at") or entry.get("created_at")
    try:
        return datetime.fromisoformat(moment).isoformat(timespec="seconds") if moment else ""
    except (TypeError, ValueError) as error:
        raise _bad(f"{where}: {moment!r} is not a time") from error


def _chosen(annotations: list[_Annotation], remarks: Remarks) -> _Annotation | None:
    if not annotations:
        return None
    best = max(annotations, key=lambda one: (one.ground_truth, one.at))
    others = [short(one.where) for one in annotations if one is not best]
    if others:
        remarks["further annotation of the same image, skipped in favour of the ground truth or the latest"] += others
    return best


def _delivery(
    folder: DeliveryFolder,
    notes: Path,
    file: Path,
    annotation: _Annotation | None,
    held: tuple[str, dict[str, Any]],
    by_choice: bool,
    slice: str | None,
    remarks: Remarks,
) -> Delivery:
    name = file.relative_to(notes.parent).as_posix()
    delivery = Delivery(name=name, read=partial(folder.read, file), slice=slice or "default")
    where, own = held[0], _own(*held)
    if annotation is None:
        remarks["image without an annotation, ingested without a label"].append(name)
        return _with_own(delivery, own, carried.UNANNOTATED, where)
    sealed = carried.seal(content(one.kind, one.labels, one.value) for one in annotation.results)
    shown = [result for result in annotation.results if result.kind != "choices"]
    choices = [label for result in annotation.results if result.kind == "choices" for label in result.labels]
    label = _label(choices, shown, by_choice)
    if label is None and choices and not carried.unchanged(own, sealed):
        raise _bad(f"{annotation.where} has contradictory choices: {', '.join(choices)}")
    if label is None and not choices:
        remarks["annotation without a choice, ingested without a label"].append(short(annotation.where))
    # Only regions need the image size. The data contract reports images whose size cannot be read.
    areas = regions(shown, shapes.upright_size(file) if shown else None, annotation.where, remarks)
    types = [choice for choice in choices if not is_good(choice) and choice.lower() not in DEFECTIVE]
    delivery = replace(
        delivery,
        label=label.value if label else None,
        defect_types=tuple(dict.fromkeys([*types, *(kind for result in shown for kind in result.labels)])),
        boxes=areas.boxes if areas.boxes or not (choices or shown or by_choice) else None,
        mask=partial(mask_png, file, annotation.where, areas) if areas.polygons or areas.brushes else None,
        labelled_by=annotation.by or f"Label Studio {notes.name}",
        labelled_at=annotation.at or None,
    )
    return _with_own(delivery, own, sealed, where)


def _label(choices: list[str], shown: list[Result], by_choice: bool) -> Label | None:
    """Return the label given by choices, or else by regions. None if there is neither, or if choices contradict."""
    good = [choice for choice in choices if is_good(choice)]
    if choices:
        return None if good and len(good) < len(choices) else Label.GOOD if good else Label.DEFECT
    if shown:
        return Label.DEFECT
    return None if by_choice else Label.GOOD


def _own(where: str, data: dict[str, Any]) -> Any:
    """Return the fields that our own export put into the task's data. Some tools turn them into text."""
    own = data.get(carried.KEY)
    if not isinstance(own, str):
        return own
    try:
        return json.loads(own)
    except ValueError as error:
        raise _bad(f"{where}: `{carried.KEY}` is not valid JSON: {error}") from error


def _with_own(delivery: Delivery, own: Any, sealed: str, where: str) -> Delivery:
    fields = carried.fields(own, sealed, where)
    untyped = own.get("untyped") if isinstance(own, dict) else None
    boxes = delivery.boxes
    if untyped is not None:
        kinds = tuple(kind for kind in delivery.defect_types if kind != untyped)
        if boxes is not None:
            boxes = [replace(box, defect_type=None if box.defect_type == untyped else box.defect_type) for box in boxes]
        delivery = replace(delivery, boxes=boxes, defect_types=kinds)
    return replace(delivery, **fields)
