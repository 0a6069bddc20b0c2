from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from models import images
from pipelines.pages.pictures import OUTLINE, outlined
from pipelines.report.ground_truth import GroundTruth


def table(**said: object) -> pa.Table:
    row = {"image": "a", "split": "test", "mask": None, "boxes": None} | said
    return pa.Table.from_pylist([row])


def test_ground_truth_is_the_mask_where_there_is_one(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 6:12] = 255
    (tmp_path / "m.png").write_bytes(images.encode_png(mask))
    found = GroundTruth(table(mask="m.png"), tmp_path).mask("a", 20, 30)
    assert found is not None
    assert np.array_equal(found, mask > 0)


def test_ground_truth_is_the_boxes_where_there_is_no_mask(tmp_path: Path) -> None:
    box = {"x": 6.0, "y": 4.0, "width": 6.0, "height": 5.0, "defect_type": "dent"}
    found = GroundTruth(table(boxes=[box]), tmp_path).mask("a", 20, 30)
    assert found is not None
    assert (found.sum(), found[4:9, 6:12].all()) == (30, True)
    assert GroundTruth(table(), tmp_path).mask("a", 20, 30) is None


def test_an_outline_surrounds_the_defect_and_leaves_it_visible() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:20, 10:30] = True
    shown = outlined(np.full((20, 30, 1), 100, np.uint8), mask)  # half the mask's size
    red = (shown == OUTLINE).all(axis=2)
    assert not red[5:10, 5:15].any()
    assert red[4, 5:15].all()
    assert red[5:10, 15].all()
