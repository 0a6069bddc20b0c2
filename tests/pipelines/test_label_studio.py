from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models import images
from models.errors import BadData, UnreadableImage
from models.params import SplitShares
from pipelines import brush
from pipelines.handover import coco as coco_out
from pipelines.handover import label_studio as studio_out
from pipelines.ingest import formats
from pipelines.ingest.deliveries import Delivery
from pipelines.ingest.formats import Format
from tests.conftest import picture
from tests.pipelines.test_formats import SHARES, put

PLAIN = {"original_width": 64, "original_height": 64, "to_name": "image"}


def region(kind: str, **value: Any) -> dict[str, Any]:
    return PLAIN | {"type": kind, "value": value | {kind: ["dent"]}}


def task(*results: dict, image: str = "/data/upload/3/1a2b3c4d-a.png", **annotation: Any) -> dict[str, Any]:
    done = {
        "result": list(results),
        "completed_by": {"email": "lab@plant"},
        "updated_at": "2026-05-01T10:00:00Z",
    } | annotation
    return {"id": 7, "data": {"image": image}, "annotations": [done]}


def delivered(tmp_path: Path, *tasks: dict) -> list[Delivery]:
    put(tmp_path / "images" / "a.png", picture(1, defective=True))
    notes = put(tmp_path / "export.json", json.dumps(tasks))
    chosen, source = formats.read(str(notes), SHARES)
    assert chosen is Format.LABEL_STUDIO
    return list(source.deliveries)


def pixels(delivery: Delivery) -> np.ndarray:
    assert delivery.mask is not None
    return images.decode(delivery.mask())[..., 0] > 0


def test_rectangles_become_boxes_with_who_and_when(tmp_path: Path) -> None:
    (one,) = delivered(tmp_path, task(region("rectanglelabels", x=25, y=50, width=10, height=20, rotation=0)))
    assert one.boxes is not None
    box = one.boxes[0]
    assert (box.x, box.y, box.width, box.height) == pytest.approx((16, 32, 6.4, 12.8))
    assert box.defect_type == "dent"
    assert (one.label, one.defect_types) == ("defect", ("dent",))
    assert (one.labelled_by, one.labelled_at) == ("Label Studio lab@plant", "2026-05-01T10:00:00Z")


def test_a_turned_rectangle_gets_the_box_around_it(tmp_path: Path) -> None:
    (one,) = delivered(tmp_path, task(region("rectanglelabels", x=50, y=50, width=20, height=10, rotation=90)))
    assert one.boxes is not None
    box = one.boxes[0]
    assert [round(side, 6) for side in (box.x, box.y, box.width, box.height)] == [25.6, 32, 6.4, 12.8]


def test_polygons_ellipses_and_brushes_become_one_mask(tmp_path: Path) -> None:
    stroke = np.zeros((64, 64), bool)
    stroke[40:44, 10:30] = True
    (one,) = delivered(
        tmp_path,
        task(
            region("polygonlabels", points=[[0, 0], [25, 0], [25, 25], [0, 25]]),
            region("ellipselabels", x=75, y=75, radiusX=10, radiusY=10, rotation=0),
            region("brushlabels", format="rle", rle=brush.encode(stroke)),
        ),
    )
    mask = pixels(one)
    assert mask[5, 5]
    assert mask[48, 48]
    assert mask[stroke].all()
    assert not mask[30, 50]


@pytest.mark.parametrize(("choice", "label", "types"), [("good", "good", ()), ("scratch", "defect", ("scratch",))])
def test_choices_are_labels(choice: str, label: str, types: tuple, tmp_path: Path) -> None:
    (one,) = delivered(tmp_path, task({"type": "choices", "value": {"choices": [choice]}}))
    assert (one.label, tuple(one.defect_types), one.boxes) == (label, types, None)


def test_nothing_found_is_good_a_cancelled_annotation_counts_for_nothing(tmp_path: Path) -> None:
    found, cancelled = delivered(tmp_path, task(), task(was_cancelled=True))
    assert (found.label, found.boxes) == ("good", [])
    assert (cancelled.label, cancelled.labelled_by) == (None, None)


def test_the_short_export_is_read_too(tmp_path: Path) -> None:
    place = {"x": 25, "y": 50, "width": 10, "height": 20, "rotation": 0, "rectanglelabels": ["dent"]}
    short = {"id": 7, "image": "a.png", "label": [place | PLAIN], "annotator": 3, "updated_at": "2026-05-01T10:00:00Z"}
    (one,) = delivered(tmp_path, short)
    assert one.boxes is not None
    assert (one.boxes[0].x, one.label, one.labelled_by) == (16, "defect", "Label Studio 3")


@pytest.mark.parametrize(
    ("tasks", "says"),
    [
        ([task(image="/data/upload/1/b.png")], "task 7: image b.png does not exist"),
        ([task(image="nothing")], "task 7 names no image"),
        ([task(region("rectanglelabels", x=1, y=2, width=0, height=3))], "task 7: a result can't be read"),
        ([task(region("rectanglelabels", x=float("nan"), y=2, width=1, height=3))], "task 7: a result can't be read"),
        ([task({"type": "rectanglelabels", "value": {"rectanglelabels": ["a"]}})], "original_width"),
        (["task"], "no list of tasks"),
    ],
)
def test_a_broken_task_is_named(tasks: list, says: str, tmp_path: Path) -> None:
    put(tmp_path / "images" / "a.png", picture(1, defective=True))
    notes = put(tmp_path / "export.json", json.dumps(tasks))
    with pytest.raises(BadData) as caught:
        formats.read(str(notes), SHARES, format=Format.LABEL_STUDIO)
    assert says in caught.value.message


def test_a_cut_off_export_is_named_with_its_line(tmp_path: Path) -> None:
    notes = put(tmp_path / "export.json", '[\n{"data": {"image": "a.png"},\n')
    with pytest.raises(BadData, match=r"export.json, line 3"):
        formats.read(str(notes), SHARES)


@pytest.mark.parametrize("broken", [[0, 0, 0, 4], [], [0, 0, 64, 0, 7 << 3]])
def test_a_broken_brush_is_named(broken: list[int], tmp_path: Path) -> None:
    (one,) = delivered(tmp_path, task(region("brushlabels", format="rle", rle=broken)))
    with pytest.raises(UnreadableImage, match="task 7"):
        pixels(one)


@given(arrays.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_a_brush_comes_back_as_it_went(mask: np.ndarray) -> None:
    assert np.array_equal(brush.decode(brush.encode(mask), mask.shape[1], mask.shape[0]), mask)


side = st.integers(1, 30)
box = st.fixed_dictionaries(
    {
        "x": st.integers(0, 30).map(float),
        "y": st.integers(0, 30).map(float),
        "width": side.map(float),
        "height": side.map(float),
        "defect_type": st.sampled_from(["scratch", "dent"]),
    }
)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "label": st.sampled_from(["good", "defect", None]),
            "part": st.sampled_from(["p1", "p2"]),
            "slice": st.sampled_from(["matt", "gloss"]),
            "split": st.sampled_from(["train", "test", None]),
            "defect_probability": st.none() | st.floats(0, 1),
            "labelled_by": st.sampled_from(["lab", "line 3"]),
            "labelled_at": st.none() | st.just("2026-05-01T10:00:00+00:00"),
            "licence": st.none() | st.just("CC0"),
            "boxes": st.none() | st.lists(box, max_size=3),
            "mask": st.none() | st.just("mask"),
        }
    ),
    min_size=1,
    max_size=4,
)
SAID = ("label", "part", "slice", "split", "defect_probability", "labelled_by", "labelled_at", "licence")


@settings(max_examples=15, deadline=None)
@given(rows)
@pytest.mark.parametrize("target", ["coco", "label-studio"])
def test_everything_said_about_images_comes_back(
    target: str, tmp_path_factory: pytest.TempPathFactory, rows: list[dict]
) -> None:
    folder = tmp_path_factory.mktemp("trip")
    drawn = np.zeros((64, 64), np.uint8)
    drawn[3:9, 20:31] = 255
    put(folder / "mask.png", images.encode_png(drawn))
    for number, row in enumerate(rows):
        row |= {"file": f"images/{number}.png", "width_px": 64, "height_px": 64}
        row["mask"] = "mask.png" if row["mask"] and row["label"] == "defect" else None
        row["boxes"] = row["boxes"] if row["label"] == "defect" or not row["boxes"] else []
        kinds = dict.fromkeys(one["defect_type"] for one in row["boxes"] or ())
        row["defect_types"] = list(kinds) or (["dent"] if row["mask"] else [])
        put(folder / row["file"], picture(number, defective=False))
    if target == "coco":
        notes = put(folder / "annotations.json", json.dumps(coco_out.content(rows, folder)))
    else:
        notes = put(folder / "tasks.json", json.dumps(studio_out.tasks(rows, folder, folder.name)))
    shares = SplitShares(train=1, validation=0, test=0)
    back = {item.name: item for item in formats.read(str(notes), shares)[1].deliveries}
    for number, row in enumerate(rows):
        item = back[f"{number}.png"]
        assert {name: getattr(item, name) for name in SAID} == {name: row[name] for name in SAID}
        assert list(item.defect_types) == row["defect_types"]
        if row["label"] is not None:
            boxes = None if item.boxes is None else [vars(one) for one in item.boxes]
            expected = row["boxes"]
            if target == "coco" or expected is None:
                assert boxes == expected
            else:
                assert [one["defect_type"] for one in boxes or ()] == [one["defect_type"] for one in expected]
                assert np.allclose(*([[one["x"], one["width"]] for one in found or ()] for found in (boxes, expected)))
        assert (item.mask is not None) == (row["mask"] is not None)
        if item.mask is not None:
            assert np.array_equal(images.decode(item.mask())[..., 0], drawn)
