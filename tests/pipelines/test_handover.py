"""Out in another tool's format and in again: what the format can hold comes back the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models import annotation_table, images
from models.errors import BadInput
from pipelines.handover.coco import run_lengths
from pipelines.handover.handover import Target, hand_over
from pipelines.ingest.ingest import ingest
from pipelines.workspace import Workspace
from tests.conftest import make_workspace
from tests.pipelines.test_formats import coco, mvtec, same_stem, voc, yolo


def by_image(place: Workspace) -> dict[str, dict]:
    return {row["image"]: row for row in annotation_table.load(place.annotations).to_pylist()}


def round_trip(place: Workspace, target: Target, tmp_path: Path) -> dict[str, dict]:
    out = hand_over(place, target, tmp_path / "out").directory
    back = make_workspace(tmp_path / "back")
    ingest(back, str(out / "annotations.json" if target is Target.COCO else out))
    return by_image(back)


def mask(place: Path, row: dict) -> np.ndarray | None:
    return images.read(place / row["mask"]) if row["mask"] else None


@pytest.mark.parametrize("make", [voc, yolo, coco, same_stem])
def test_coco_brings_boxes_types_and_masks_back(make, empty_workspace: Workspace, tmp_path: Path) -> None:
    ingest(empty_workspace, str(make(tmp_path / "delivery")))
    before, after = by_image(empty_workspace), round_trip(empty_workspace, Target.COCO, tmp_path)
    assert before.keys() == after.keys()
    for image, row in before.items():
        assert after[image]["defect_types"] == row["defect_types"]
        if row["boxes"] is not None:
            assert after[image]["boxes"] == row["boxes"]
        there = mask(empty_workspace.data, row)
        if there is not None and there.any():
            assert np.array_equal(mask(tmp_path / "back" / "data", after[image]), there)


@pytest.mark.parametrize("make", [voc, yolo])
def test_yolo_brings_boxes_and_splits_back(make, empty_workspace: Workspace, tmp_path: Path) -> None:
    ingest(empty_workspace, str(make(tmp_path / "delivery")))
    before, after = by_image(empty_workspace), round_trip(empty_workspace, Target.YOLO, tmp_path)
    for image, row in before.items():
        assert (after[image]["split"], after[image]["label"]) == (row["split"], row["label"])
        for there, back in zip(row["boxes"], after[image]["boxes"], strict=True):
            assert back["defect_type"] == there["defect_type"]
            for side in ("x", "y", "width", "height"):
                assert back[side] == pytest.approx(there[side], abs=1e-6)


def test_mvtec_brings_the_test_list_and_its_masks_back(empty_workspace: Workspace, tmp_path: Path) -> None:
    ingest(empty_workspace, str(mvtec(tmp_path / "bottle")))
    before, after = by_image(empty_workspace), round_trip(empty_workspace, Target.MVTEC, tmp_path)
    assert before.keys() == after.keys()
    for image, row in before.items():
        assert (after[image]["label"], after[image]["mask"]) == (row["label"], row["mask"])
        assert (after[image]["split"] == "test") == (row["split"] == "test")


def test_what_a_format_can_not_hold_is_counted(workspace: Workspace, tmp_path: Path) -> None:
    written = hand_over(workspace, Target.COCO, tmp_path / "out")
    assert written.images == 60
    assert written.left_out["label without box or mask, but for our own key"] == 20


def test_a_directory_that_holds_something_is_left_alone(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not empty"):
        hand_over(workspace, Target.YOLO, tmp_path)


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_run_lengths_are_read_back_as_the_same_mask(pixels: np.ndarray) -> None:
    counts = run_lengths(pixels)
    values = np.repeat(np.arange(len(counts)) % 2, counts).astype(bool)
    assert np.array_equal(values.reshape(pixels.shape[::-1]).T, pixels)
