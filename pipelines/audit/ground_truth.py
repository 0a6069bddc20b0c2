"""Finds labels, masks and boxes that contradict each other or the image. Pure: masks are measured beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from models.vocabulary import Label
from pipelines.audit.finding import Case, Finding, Severity, counted, finding

MIN_COVERED = 0.5  # minimum share of a mask that lies in the boxes
TOLERANCE_PX = 1.0  # boxes are rounded, and tools count pixels from 0 or from 1


@dataclass(frozen=True)
class MaskFacts:
    area_px: int
    in_boxes: float  # share of the mask's pixels that lie in a box; nan without boxes or without pixels


def measure(mask: np.ndarray, boxes: list[dict] | None) -> MaskFacts:
    """Measure `mask`, bool [h, w]; boxes are in pixels."""
    area = int(mask.sum())
    if not boxes or not area:
        return MaskFacts(area, float("nan"))
    covered = np.zeros_like(mask)
    for box in boxes:
        left, top = int(max(0, np.floor(box["x"]))), int(max(0, np.floor(box["y"])))
        right, bottom = int(np.ceil(box["x"] + box["width"])), int(np.ceil(box["y"] + box["height"]))
        covered[top : max(top, bottom), left : max(left, right)] = True
    return MaskFacts(area, float((mask & covered).sum() / area))


def findings(frame: pd.DataFrame, masks: dict[str, MaskFacts]) -> list[Finding]:
    """`masks` by image, for rows that have a mask."""
    rows = frame.to_dict("records")

    def cases(wrong: Callable[[dict], str | None]) -> list[Case]:
        return [Case((row["image"],), caption) for row in rows if (caption := wrong(row))]

    kinds: Iterable[tuple[str, tuple[str, str], str, Callable[[dict], str | None]]] = (
        ("empty-masks", ("mask is empty, but the label is defect",
          "masks are empty, but the label is defect"), "They would train the detector to ignore the defect.",
         lambda row: _type(row) if row["label"] == Label.DEFECT and _area(row, masks) == 0 else None),
        ("masks-on-good-parts", ("good part has a mask that is not empty",
          "good parts have a mask that is not empty"), "Either the label or the mask is wrong.",
         lambda row: f"{_area(row, masks)} px" if row["label"] == Label.GOOD and (_area(row, masks) or 0) > 0 else None),
        ("boxes-on-good-parts", ("good part has boxes",
          "good parts have boxes"), "Either the label or the boxes are wrong.",
         lambda row: f"{len(row['boxes'])} boxes" if row["label"] == Label.GOOD and _boxes(row) else None),
        ("defects-without-boxes", ("defective part has an empty list of boxes",
          "defective parts have an empty list of boxes"), "Either the label or the boxes are wrong.",
         lambda row: _type(row) if row["label"] == Label.DEFECT and row["boxes"] is not None and not _boxes(row) else None),
        ("masks-beside-boxes", ("mask lies beside its boxes",
          "masks lie beside their boxes"), f"Less than {MIN_COVERED:.0%} of the mask lies in a box.",
         lambda row: _beside(row, masks)),
        ("boxes-outside", ("image has boxes that reach outside",
          "images have boxes that reach outside"), "Coordinates in a different unit or order.", _outside),
        ("types-beside-boxes", ("image whose label and boxes have different defect types",
          "images whose label and boxes have different defect types"),
         "Label and boxes probably come from different sources.", _types_differ),
    )  # fmt: skip
    return [
        finding(
            kind,
            Severity.WARNING,
            counted(len(wrong_cases), *what),
            why,
            "Correct the delivery and ingest it again.",
            wrong_cases,
        )
        for kind, what, why, wrong in kinds
        if (wrong_cases := cases(wrong))
    ]


def _boxes(row: dict) -> bool:
    return row["boxes"] is not None and len(row["boxes"]) > 0


def _area(row: dict, masks: dict[str, MaskFacts]) -> int | None:
    return masks[row["image"]].area_px if row["image"] in masks else None


def _type(row: dict) -> str:
    return ", ".join(row["defect_types"]) or "defect"


def _beside(row: dict, masks: dict[str, MaskFacts]) -> str | None:
    facts = masks.get(row["image"])
    return f"{facts.in_boxes:.0%} of the mask in boxes" if facts and facts.in_boxes < MIN_COVERED else None


def _outside(row: dict) -> str | None:
    for box in row["boxes"] if row["boxes"] is not None else ():
        right, bottom = box["x"] + box["width"], box["y"] + box["height"]
        beyond = max(-box["x"], -box["y"], right - row["width_px"], bottom - row["height_px"])
        if beyond > TOLERANCE_PX:
            return f"{beyond:.0f} px outside"
    return None


def _types_differ(row: dict) -> str | None:
    if not _boxes(row):
        return None
    boxed = {box["defect_type"] for box in row["boxes"] if box["defect_type"]}
    named = set(row["defect_types"])
    odd = boxed ^ named if boxed and named else set()
    return f"label: {', '.join(sorted(named))}; boxes: {', '.join(sorted(boxed))}" if odd else None
