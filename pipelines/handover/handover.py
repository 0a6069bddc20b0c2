"""Write the whole dataset in another tool's format, and say what that format can't hold."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from models import annotation_table
from models.errors import BadInput, NotReady
from models.files import write_whole
from models.vocabulary import Label, Split
from pipelines.handover import coco, label_studio, yolo
from pipelines.workspace import Workspace


class Target(StrEnum):
    COCO = "coco"
    YOLO = "yolo"
    MVTEC = "mvtec"
    LABEL_STUDIO = "label-studio"


@dataclass(frozen=True)
class Handover:
    """What was written; `left_out` says in words what the format has no place for, with the number of images."""

    directory: Path
    images: int
    left_out: dict[str, int]


def hand_over(workspace: Workspace, target: Target, directory: Path) -> Handover:
    """Write every image of the dataset below `directory`, which must be empty or absent.

    Raises NotReady without images and BadInput for a directory that holds something.
    """
    readable = [row for row in annotation_table.load(workspace.annotations).to_pylist() if not row["decode_error"]]
    rows = [row for row in readable if not row["synthetic"]]  # they would come back as photographs
    made = {"synthetic image": len(readable) - len(rows)} if len(readable) > len(rows) else {}
    if not rows:
        raise NotReady(f"There are no images in {workspace.data}.", next_step="defectloop ingest FOLDER")
    if directory.exists() and any(directory.iterdir()):
        raise BadInput(f"{directory} is not empty.", next_step="Name another directory.")
    write = {Target.COCO: _coco, Target.YOLO: _yolo, Target.MVTEC: _mvtec, Target.LABEL_STUDIO: _label_studio}[target]
    written, left_out = write(rows, workspace.data, directory)
    return Handover(directory, written, left_out | made)


def _coco(rows: list[dict[str, Any]], data: Path, out: Path) -> tuple[int, dict[str, int]]:
    for row in rows:
        _copy(data / row["file"], out / "images" / coco.name(row))
    write_whole(out / "annotations.json", json.dumps(coco.content(rows, data), indent=1).encode())
    bare = [row for row in rows if row["label"] == Label.DEFECT and not row["boxes"] and not row["mask"]]
    return len(rows), _counted({"label without box or mask, but for our own key": bare})


def _yolo(rows: list[dict[str, Any]], data: Path, out: Path) -> tuple[int, dict[str, int]]:
    placed = [row for row in rows if row["split"]]
    for row in placed:
        _copy(data / row["file"], out / yolo.image_path(row))
    for path, text in yolo.label_files(placed).items():
        write_whole(out / path, text.encode())
    masks = [row for row in placed if row["mask"]]
    bare = [row for row in placed if row["label"] and row["boxes"] is None]
    missing = [row for row in rows if not row["split"]]
    return len(placed), _counted({"mask": masks, "label without boxes": bare, "image without a split": missing})


def _mvtec(rows: list[dict[str, Any]], data: Path, out: Path) -> tuple[int, dict[str, int]]:
    """Good parts to learn from, everything of the test split to test; defective training parts have no place there."""
    kept = [row for row in rows if row["label"] and (row["split"] == Split.TEST or row["label"] == Label.GOOD)]
    for row in kept:
        side = "test" if row["split"] == Split.TEST else "train"
        kind = "good" if row["label"] == Label.GOOD else next(iter(row["defect_types"] or ()), "defect")
        name = coco.name(row)
        _copy(data / row["file"], out / side / kind / name)
        if row["mask"] and kind != "good":
            _copy(data / row["mask"], out / "ground_truth" / kind / f"{Path(name).stem}_mask.png")
    boxes = [row for row in kept if row["boxes"]]
    missing = [row for row in rows if row not in kept]
    return len(kept), _counted({"boxes": boxes, "defective or unlabelled training image": missing})


def _label_studio(rows: list[dict[str, Any]], data: Path, out: Path) -> tuple[int, dict[str, int]]:
    for row in rows:
        _copy(data / row["file"], out / "images" / coco.name(row))
    found = label_studio.tasks(rows, data, out.name)
    write_whole(out / "tasks.json", json.dumps(found, indent=1).encode())
    write_whole(out / "labelling.xml", label_studio.configuration(rows).encode())
    return len(rows), {}


def _counted(found: dict[str, list]) -> dict[str, int]:
    return {what: len(rows) for what, rows in found.items() if rows}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
