"""Label Studio's exports as people get them, and its brush masks bit by bit."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.errors import UnreadableImage
from models.images import codec
from pipelines.ingest import formats
from pipelines.ingest.deliveries import Delivery, Source
from pipelines.ingest.formats import Format
from pipelines.interchange import brush
from tests.conftest import picture
from tests.pipelines.ingest.test_formats import SHARES, put

SIZE = {"original_width": 64, "original_height": 64, "image_rotation": 0}


def result(kind: str, labels: Sequence[str] = ("scratch",), **value: Any) -> dict[str, Any]:
    found = {"id": f"{kind}-{len(value)}-{labels}", "type": kind, "value": value | {kind: list(labels)}}
    return found if kind == "choices" else found | SIZE


def task(number: int, *annotations: dict[str, Any], image: str | None = None) -> dict[str, Any]:
    address = image or f"/data/upload/3/0a1b2c3d-{number}.png"
    return {"id": number, "data": {"image": address}, "annotations": list(annotations), "predictions": []}


def said(*results: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {"id": 70, "completed_by": {"id": 3, "email": "ada@lab.example"}, "result": list(results)} | values


def read(root: Path, tasks: list[dict[str, Any]], *names: str) -> Source:
    for number, name in enumerate(names or [f"{one['id']}.png" for one in tasks]):
        put(root / name, picture(number, defective=True))
    chosen, source = formats.read(str(put(root / "export.json", json.dumps(tasks))), SHARES)
    assert chosen is Format.LABEL_STUDIO
    return source


def only(root: Path, *results: dict[str, Any], **values: Any) -> Delivery:
    return read(root, [task(1, said(*results, **values))]).deliveries[0]


def filled(item: Delivery) -> np.ndarray:
    assert item.mask is not None
    return codec.decode(item.mask())[..., 0] > 0


def places(item: Delivery) -> list[tuple[float, ...]]:
    return [(box.x, box.y, box.width, box.height) for box in item.boxes or ()]


def test_rectangles_are_percent_of_the_image_and_carry_who_and_when(tmp_path: Path) -> None:
    moment = "2026-03-04T05:06:07.891011Z"
    item = only(
        tmp_path,
        result("rectanglelabels", x=25, y=50, width=12.5, height=6.25, rotation=0),
        result("rectanglelabels", ("dent",), x=0, y=0, width=100, height=50),
        created_at="2026-01-01T00:00:00Z",
        updated_at=moment,
    )
    assert places(item) == [(16, 32, 8, 4), (0, 0, 64, 32)]
    assert [box.defect_type for box in item.boxes or ()] == ["scratch", "dent"]
    assert (item.label, item.defect_types) == ("defect", ("scratch", "dent"))
    assert (item.labelled_by, item.labelled_at) == ("ada@lab.example", "2026-03-04T05:06:07+00:00")


def test_a_rotated_rectangle_turns_about_its_upper_left_corner(tmp_path: Path) -> None:
    source = read(tmp_path, [task(1, said(result("rectanglelabels", x=50, y=50, width=25, height=12.5, rotation=30)))])
    cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
    ((x, y, width, height),) = places(source.deliveries[0])
    assert (x, y) == pytest.approx((32 - 8 * sin, 32), abs=1e-5)
    assert (width, height) == pytest.approx((16 * cos + 8 * sin, 16 * sin + 8 * cos), abs=1e-5)
    assert source.remarks == {"rotated rectangle, replaced by the upright box around it": ["task 1, annotation 70"]}


def test_polygons_ellipses_and_brushes_become_one_mask(tmp_path: Path) -> None:
    drawn = np.zeros((64, 64), bool)
    drawn[60:64, 0:3] = True
    item = only(
        tmp_path,
        result("polygonlabels", points=[[0, 0], [25, 0], [25, 12.5], [0, 12.5]], closed=True),
        result("ellipselabels", ("dent",), x=75, y=50, radiusX=12.5, radiusY=6.25, rotation=0),
        result("brushlabels", ("stain",), format="rle", rle=brush.packed(drawn)),
    )
    mask = filled(item)
    assert mask[:8, :16].all()
    assert mask[60:64, 0:3].all()
    assert mask.sum() == pytest.approx(8 * 16 + 4 * 3 + math.pi * 8 * 4, abs=6)
    assert places(item) == [(0, 0, 16, 8), (40, 28, 16, 8)]
    assert item.defect_types == ("scratch", "dent", "stain")


@pytest.mark.parametrize(
    ("choices", "label", "types"),
    [
        (["Good"], "good", ()),
        (["ok"], "good", ()),
        (["defect"], "defect", ()),
        (["scratch", "dent"], "defect", ("scratch", "dent")),
        (["Not OK", "dent"], "defect", ("Not OK", "dent")),
    ],
)
def test_choices_say_the_label(choices: list[str], label: str, types: tuple[str, ...], tmp_path: Path) -> None:
    item = only(tmp_path, result("choices", choices))
    assert (item.label, item.defect_types, item.boxes) == (label, types, None)


def test_an_annotation_without_regions_says_good_but_without_a_choice_nothing(tmp_path: Path) -> None:
    regions = read(
        tmp_path / "a", [task(1, said()), task(2, said(result("rectanglelabels", x=1, y=1, width=9, height=9)))]
    )
    assert (regions.deliveries[0].label, regions.deliveries[0].boxes) == ("good", [])
    choices = read(tmp_path / "b", [task(1, said()), task(2, said(result("choices", ["good"])))])
    assert [item.label for item in choices.deliveries] == [None, "good"]
    assert choices.remarks == {"annotation without a choice, ingested without a label": ["task 1, annotation 70"]}


def test_the_ground_truth_counts_or_else_the_latest_and_the_others_are_named(tmp_path: Path) -> None:
    early, late = {"updated_at": "2026-01-01T00:00:00Z"}, {"updated_at": "2026-02-01T00:00:00Z"}
    good, bad = result("choices", ["good"]), result("choices", ["scratch"])
    source = read(
        tmp_path,
        [
            task(1, said(good, id=1, **late), said(bad, id=2, **early)),
            task(2, said(good, id=3, **late), said(bad, id=4, ground_truth=True, **early)),
            task(3, said(good, id=5, was_cancelled=True, **late), said(bad, id=6, completed_by=9, **early)),
            task(4) | {"predictions": [{"result": [good]}]},
        ],
    )
    assert [item.label for item in source.deliveries] == ["good", "defect", "defect", None]
    assert source.deliveries[2].labelled_by == "Label Studio user 9"
    assert source.remarks == {
        "further annotation of the same image, skipped in favour of the ground truth or the latest": [
            "task 1, annotation 2",
            "task 2, annotation 3",
        ],
        "annotation that was skipped or cancelled": ["task 3, annotation 5"],
        "model prediction, skipped because it is not ground truth": ["task 4"],
        "image without an annotation, ingested without a label": ["4.png"],
    }


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("/data/upload/3/0a1b2c3d-part%207.png", "images/part 7.png"),
        ("/data/upload/3/0a1b2c3d-a.png", "0a1b2c3d-a.png"),
        ("/data/local-files/?d=line%203/monday/a.png", "monday/a.png"),
        ("s3://bucket/line/monday/a.png", "images/monday/a.png"),
        ("https://host/a.png?signature=b.png", "a.png"),
        ("C:\\photos\\a.png", "photos/a.png"),
        ("../../../a.png", "a.png"),
    ],
)
def test_the_image_is_found_by_the_longest_end_of_its_path(address: str, file: str, tmp_path: Path) -> None:
    source = read(tmp_path, [task(1, said(result("choices", ["good"])), image=address)], file, "elsewhere/x.png")
    assert [item.name for item in source.deliveries] == [file]
    assert source.deliveries[0].read() == (tmp_path / file).read_bytes()


def test_labels_apart_from_their_shape_join_it_and_unknown_results_are_named(tmp_path: Path) -> None:
    place = {"x": 25, "y": 25, "width": 25, "height": 25}
    shape = {"id": "r", "type": "rectangle", "value": place} | SIZE
    named = {"id": "r", "type": "labels", "value": place | {"labels": ["dent"]}} | SIZE
    about = {"id": "r", "type": "choices", "value": place | {"choices": ["deep"]}}
    text = {"id": "t", "type": "textarea", "value": {"text": ["looks odd"]}}
    source = read(tmp_path, [task(1, said(shape, named, about, text))])
    (box,) = source.deliveries[0].boxes or ()
    assert (box.x, box.width, box.defect_type) == (16, 16, "dent")
    assert source.deliveries[0].defect_types == ("dent",)
    assert source.remarks == {
        "choice for a single region, which is not supported": ["task 1, annotation 70, result r"],
        "result of the type textarea, which is not supported": ["task 1, annotation 70, result t"],
    }


def test_json_min_says_the_same_as_the_full_export(tmp_path: Path) -> None:
    place = {"x": 25, "y": 50, "width": 12.5, "height": 6.25, "rotation": 0}
    drawn = np.eye(64, dtype=bool)
    runs = {"format": "rle", "rle": brush.packed(drawn)}
    full = [task(1, said(result("rectanglelabels", **place), result("brushlabels", ("dent",), **runs), completed_by=3))]
    full += [task(2, said(result("choices", ["good"]), completed_by=3))]
    tail = {"annotator": 3, "annotation_id": 70, "created_at": "2026-01-01T00:00:00Z", "lead_time": 1.5}
    small = [
        {"image": "/data/upload/3/0a1b2c3d-1.png", "operator": "bob", "id": 1}
        | {
            "boxes": [place | {"rectanglelabels": ["scratch"]} | SIZE],
            "mask": [runs | {"brushlabels": ["dent"]} | SIZE],
        }
        | tail,
        {"image": "/data/upload/3/0a1b2c3d-2.png", "operator": "good", "id": 2, "label": "good"} | tail,
    ]
    for one, other in zip(
        read(tmp_path / "full", full).deliveries, read(tmp_path / "min", small).deliveries, strict=True
    ):
        assert (one.label, one.defect_types, one.boxes) == (other.label, other.defect_types, other.boxes)
        assert (one.labelled_by, one.name) == (other.labelled_by, other.name) == ("Label Studio user 3", one.name)
        assert (one.mask is None) == (other.mask is None)
        if one.mask is not None:
            assert np.array_equal(filled(one), drawn)
            assert np.array_equal(filled(other), drawn)


def test_several_people_in_json_min_are_one_image(tmp_path: Path) -> None:
    def record(number: int, label: str, moment: str) -> dict[str, Any]:
        head = {"image": "/data/upload/3/1.png", "id": 1, "label": label}
        return head | {"annotator": number, "annotation_id": number, "updated_at": moment}

    source = read(tmp_path, [record(1, "good", "2026-02-01"), record(2, "scratch", "2026-01-01")], "1.png")
    assert [(item.label, item.labelled_by) for item in source.deliveries] == [("good", "Label Studio user 1")]
    assert [len(names) for names in source.remarks.values()] == [1]


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 40))))
def test_a_brush_is_unpacked_as_it_was_packed(mask: np.ndarray) -> None:
    height, width = mask.shape
    assert np.array_equal(brush.alpha(brush.packed(mask), width=width, height=height) == 255, mask)


def bits(*fields: tuple[int, int]) -> list[int]:
    text = "".join(f"{value:0{size}b}" for value, size in fields)
    text += "0" * (-len(text) % 8)
    return [int(text[at : at + 8], 2) for at in range(0, len(text), 8)]


HEADER = ((7, 5), (2, 4), (3, 4), (7, 4), (15, 4))  # words of 8 bits; runs of 3, 4, 8 and 16 bits


def test_a_brush_of_words_as_they_are_and_of_runs_is_read_by_the_documented_format() -> None:
    single = [(value, 8) for value in (10, 20, 30, 40, 50, 60, 70, 80)]
    packed = bits((12, 32), *HEADER, (0, 1), (1, 2), (7, 4), *single, (1, 1), (0, 2), (3, 3), (9, 8))
    assert brush.alpha(packed, width=3, height=1).tolist() == [[40, 80, 9]]


@pytest.mark.parametrize(
    ("packed", "says"),
    [
        (bits((4, 32), *HEADER, (1, 1), (0, 2), (7, 3), (9, 8)), "more values than the 4"),
        (bits((4, 32), *HEADER, (0, 1), (0, 2), (3, 3), (9, 8)), "truncated"),
        (bits((4, 32), *HEADER, (1, 1)), "truncated"),
        (bits((4, 32), (15, 5), *HEADER[1:], (1, 1), (0, 2), (3, 3), (9, 16)), "words of 16 bits"),
        (bits((8, 32), *HEADER, (1, 1), (0, 2), (7, 3), (9, 8)), "have 8 values instead of 4 for 1×1 px"),
    ],
)
def test_a_brush_that_breaks_off_is_an_error(packed: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        brush.alpha(packed, width=1, height=1)


def test_a_brush_that_breaks_off_makes_the_mask_unreadable_and_nothing_else(tmp_path: Path) -> None:
    whole = brush.packed(np.eye(64, dtype=bool))
    item = only(tmp_path, result("brushlabels", rle=whole[: len(whole) // 2]))
    assert item.mask is not None
    with pytest.raises(UnreadableImage, match="truncated"):
        item.mask()
