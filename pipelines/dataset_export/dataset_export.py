"""Exports the dataset in another tool's format, and counts what that format cannot represent."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from models.dataset import annotation_table
from models.errors import BadInput, Busy, NotReady
from models.files import write_whole
from models.vocabulary import Label, Split
from pipelines.dataset_export import coco, label_studio, mvtec, yolo
from pipelines.dataset_export.types import name, with_names
from pipelines.workspace import Workspace

Rows = list[dict[str, Any]]
UNFINISHED = ".unfinished"
_BROWSERS_SHOW = {"PNG", "JPEG", "BMP", "WEBP"}


class Target(StrEnum):
    COCO = "coco"
    YOLO = "yolo"
    MVTEC = "mvtec"
    LABEL_STUDIO = "label-studio"


@dataclass(frozen=True)
class DatasetExport:
    """Result of an export. `left_out` maps descriptions of what the format cannot represent to numbers of images; `advice`
    holds the next steps in the other tool."""

    directory: Path
    images: int
    left_out: dict[str, int]
    advice: tuple[str, ...] = ()


def export_dataset(workspace: Workspace, target: Target, directory: Path) -> DatasetExport:
    """Export every readable photograph of the dataset to `directory`, which must be empty or not exist.

    A directory that a killed export left is written again. Raises NotReady without images, BadInput if the directory has
    other content, and Busy while another export writes to it.
    """
    everything = annotation_table.load(workspace.annotations).to_pylist()
    readable = [row for row in everything if not row["decode_error"]]
    rows = [row for row in readable if not row["synthetic"]]  # other tools would treat them as photographs
    if not rows:
        raise NotReady(f"{workspace.data} contains no images.", next_step="defectloop ingest FOLDER")
    with _to_fill(directory):
        images, left_out = write(target, rows, workspace.data, directory)
    whole = {
        "unreadable image": len(everything) - len(readable),
        "synthetic image": len(readable) - len(rows),
    }
    advice = label_studio.advice(directory) if target is Target.LABEL_STUDIO else ()
    return DatasetExport(directory, images, {what: n for what, n in whole.items() if n} | left_out, advice)


def write(target: Target, rows: Rows, data: Path, out: Path) -> tuple[int, dict[str, int]]:
    """Export rows of the annotations with files below `data`. Returns the number of images and what was left out."""
    writers = {
        Target.COCO: _coco,
        Target.YOLO: _yolo,
        Target.MVTEC: _mvtec,
        Target.LABEL_STUDIO: _label_studio,
    }
    return writers[target](with_names(rows), data, out)


@contextlib.contextmanager
def _to_fill(directory: Path) -> Iterator[None]:
    """Provide an empty directory for the block. A file in it marks it as unfinished and locks it between processes."""
    note = directory / UNFINISHED
    if directory.exists() and (not directory.is_dir() or (any(directory.iterdir()) and not note.exists())):
        raise BadInput(f"{directory} is not empty.", next_step="Choose another directory.")
    directory.mkdir(parents=True, exist_ok=True)
    with note.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(
                f"Another export is writing to {directory}.",
                next_step="Wait until it ends, or choose another directory.",
            ) from error
        if not note.exists():
            raise BadInput(
                f"{directory} is not empty.", next_step="Choose another directory."
            )  # the other export has just ended
        for path in directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != note:
                path.unlink()
        yield
        note.unlink()


def _coco(rows: Rows, data: Path, out: Path) -> tuple[int, dict[str, int]]:
    for row in rows:
        _copy(data / row["file"], out / "images" / name(row))
    write_whole(out / "annotations.json", json.dumps(coco.content(rows, data), indent=1).encode())
    return len(rows), {}


def _label_studio(rows: Rows, data: Path, out: Path) -> tuple[int, dict[str, int]]:
    for row in rows:
        _copy(data / row["file"], out / "images" / name(row))
    write_whole(out / "labelling.xml", label_studio.config(rows).encode())
    write_whole(out / "tasks.json", json.dumps(label_studio.tasks(rows, data, out)).encode())
    unseen = [row for row in rows if row["format"] not in _BROWSERS_SHOW]
    return len(rows), _counted({"display of TIFF images in the browser": unseen})


def _yolo(rows: Rows, data: Path, out: Path) -> tuple[int, dict[str, int]]:
    classes = yolo.classes(rows)
    write_whole(out / "data.yaml", yolo.data_file(classes).encode())
    left_out: Counter[str] = Counter()
    for row in rows:
        _copy(data / row["file"], out / yolo.image_path(row))
        lines, lost = yolo.lines(row, data, classes)
        left_out.update(lost)
        if lines is not None:
            write_whole(out / yolo.label_path(row), "".join(f"{line}\n" for line in lines).encode(), durable=False)
        left_out.update(["defect type without a box or mask"] if set(row["defect_types"] or ()) - _placed(row) else [])
    columns = _no_columns(rows, "part", "slice", "defect_probability", "licence", "labelled_by")
    return len(rows), {**left_out, **_counted(columns)}


def _mvtec(rows: Rows, data: Path, out: Path) -> tuple[int, dict[str, int]]:
    kept = [row for row in rows if mvtec.held(row)]
    for folder in {mvtec.folder_name(row["slice"]) for row in kept}:  # required by the layout
        (out / folder / "train" / "good").mkdir(parents=True)
        (out / folder / "test").mkdir()
    for row in kept:
        _copy(data / row["file"], out / mvtec.image_path(row))
        if row["mask"] and row["label"] != Label.GOOD:
            _copy(data / row["mask"], out / mvtec.mask_path(row))
    left_out = {
        "defective or unlabelled image outside the test split": [row for row in rows if not mvtec.held(row)],
        "boxes": [row for row in kept if row["boxes"]],
        "mask of a good image": [row for row in kept if row["mask"] and row["label"] == Label.GOOD],
        "further defect types": [row for row in kept if len(row["defect_types"] or ()) > 1],
        "distinction of train and validation": [row for row in kept if row["split"] != Split.TEST],
        "character in a name that is not allowed in folder names": [row for row in kept if _renamed(row)],
    }
    return len(kept), _counted(left_out | _no_columns(kept, "part", "defect_probability", "licence", "labelled_by"))


def _placed(row: dict[str, Any]) -> set[str]:
    """Return the defect types of the boxes, or the single type of the mask."""
    if row["boxes"]:
        return {box["defect_type"] for box in row["boxes"]}
    return set((row["defect_types"] or [])[:1]) if row["mask"] and row["label"] != Label.GOOD else set()


def _renamed(row: dict[str, Any]) -> bool:
    names = [row["slice"], *(row["defect_types"] or ())[:1]]
    return any(mvtec.folder_name(text) != text for text in names)


def _no_columns(rows: Rows, *columns: str) -> dict[str, Rows]:
    """Return the rows with values in columns that the format cannot represent."""
    return {column: [row for row in rows if row[column] is not None] for column in columns}


def _counted(left_out: dict[str, Rows]) -> dict[str, int]:
    return {what: len(rows) for what, rows in left_out.items() if rows}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
