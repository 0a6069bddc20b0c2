"""Out in another tool's format and in again: what the format can hold comes back the same."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from scipy import ndimage

from models.dataset import annotation_table
from models.errors import BadInput, Busy
from models.images import codec
from pipelines.adapters import coco_masks
from pipelines.dataset_export import dataset_export, types
from pipelines.dataset_export.dataset_export import Target, export_dataset
from pipelines.ingest import formats
from pipelines.ingest.deliveries import Delivery
from pipelines.ingest.ingest import ingest
from pipelines.workspace import Workspace
from tests.conftest import make_workspace
from tests.pipelines.ingest.test_formats import SHARES, mvtec, put, same_stem
from tests.pipelines.ingest.test_formats import yolo as yolo_delivery

COLUMNS = ("part", "slice", "split", "licence", "accepted_by", "synthetic", "label", "defect_probability")
COLUMNS += ("labelled_by", "labelled_at", "accepted_at")
WHOLE = (Target.COCO, Target.LABEL_STUDIO)  # which hold everything, with our own columns beside


def by_image(place: Workspace) -> dict[str, dict]:
    return {row["image"]: row for row in annotation_table.load(place.annotations).to_pylist()}


def round_trip(place: Workspace, target: Target, tmp_path: Path) -> dict[str, dict]:
    out = export_dataset(place, target, tmp_path / "out").directory
    back = make_workspace(tmp_path / "back")
    ingest(back, str(out))
    return by_image(back)


@pytest.mark.parametrize("target", WHOLE)
def test_a_whole_line_comes_back_as_it_was(target: Target, empty_workspace: Workspace, tmp_path: Path) -> None:
    ingest(empty_workspace, str(same_stem(tmp_path / "tiles")), part_from=r"num_(\d+)", slice="matt")
    ingest(empty_workspace, str(yolo_delivery(tmp_path / "boxed")))
    deep = np.random.default_rng(3).integers(0, 65536, (20, 30), dtype=np.uint16)
    put(tmp_path / "deep" / "good" / "a.png", codec.encode_png(deep))
    ingest(empty_workspace, str(tmp_path / "deep"))
    before, after = by_image(empty_workspace), round_trip(empty_workspace, target, tmp_path)
    told = {"source", "source_path"}  # where it came from is what has changed
    for image, row in before.items():
        there, back = ({name: value for name, value in it.items() if name not in told} for it in (row, after[image]))
        assert back == there
    assert len(after) == len(before) == 10
    assert {row["bit_depth"] for row in after.values()} == {8, 16}


def test_yolo_says_what_of_a_mask_it_can_not_hold(tmp_path: Path) -> None:
    ring = np.ones((9, 9), bool)
    ring[4, 4] = False
    row = dict.fromkeys(
        ("boxes", "split", "licence", "part", "slice", "defect_probability", "labelled_by", "defect_types")
    )
    row |= {"label": "defect", "drawn": ring, "pixels": np.zeros((9, 9, 1), np.uint8), "height_px": 9, "width_px": 9}
    out, left_out = written([row], Target.YOLO, tmp_path)
    assert left_out == {"hole in a mask": 1}
    (text,) = (path.read_text() for path in out.rglob("labels/**/*.txt"))
    assert sorted(text.split()) == sorted(["0", "0", "0", "1", "0", "1", "1", "0", "1"])


def test_yolo_brings_boxes_labels_and_splits_back(empty_workspace: Workspace, tmp_path: Path) -> None:
    ingest(empty_workspace, str(yolo_delivery(tmp_path / "delivery")))
    before, after = by_image(empty_workspace), round_trip(empty_workspace, Target.YOLO, tmp_path)
    assert before.keys() == after.keys()
    for image, row in before.items():
        for name in ("split", "label", "boxes", "defect_types"):
            assert after[image][name] == row[name]


def test_mvtec_brings_the_test_list_its_masks_and_slices_back(empty_workspace: Workspace, tmp_path: Path) -> None:
    ingest(empty_workspace, str(mvtec(tmp_path / "bottle")), slice="clear/thick")
    before, after = by_image(empty_workspace), round_trip(empty_workspace, Target.MVTEC, tmp_path)
    assert before.keys() == after.keys()
    for image, row in before.items():
        assert (after[image]["label"], after[image]["mask"]) == (row["label"], row["mask"])
        assert (after[image]["split"] == "test") == (row["split"] == "test")
        assert after[image]["slice"] == "clear_thick"


def test_what_a_format_can_not_hold_is_counted(workspace: Workspace, tmp_path: Path) -> None:
    written = export_dataset(workspace, Target.YOLO, tmp_path / "yolo")
    assert written.images == 60
    assert written.left_out == {
        "label without boxes or mask": 20,
        "defect type without a box or mask": 20,
        "part": 60,
        "slice": 60,
        "labelled_by": 60,
    }
    assert export_dataset(workspace, Target.COCO, tmp_path / "coco").left_out == {}


def test_a_directory_that_holds_something_is_left_alone(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not empty"):
        export_dataset(workspace, Target.YOLO, tmp_path)


def test_what_a_killed_export_left_is_written_anew_and_a_living_one_is_left_alone(
    workspace: Workspace, tmp_path: Path
) -> None:
    whole = export_dataset(workspace, Target.COCO, tmp_path / "whole").directory
    left = tmp_path / "left"
    put(left / "images" / "half.png", b"half")
    (left / dataset_export.UNFINISHED).touch()
    with (left / dataset_export.UNFINISHED).open() as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="Another export"):
            export_dataset(workspace, Target.COCO, left)
    export_dataset(workspace, Target.COCO, left)
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in (whole, left)]
    assert names[0] == names[1]


# Generated datasets, without a workspace around them ---------------------------------------------------------------

words = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8)
kinds = st.sampled_from(["scratch", "dent", "defect", "untyped defect", "good", "a/b", "Öl & <Fett>", '"'])
sides = st.floats(0.01, 40).map(lambda value: round(value, 4))
corners = st.floats(-9, 60).map(lambda value: round(value, 4))
boxes = st.fixed_dictionaries(
    {"x": corners, "y": corners, "width": sides, "height": sides, "defect_type": st.none() | kinds}
)
pictures = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def datasets(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows of the annotations with their pixels under `pixels` and `drawn`."""
    found = []
    for number in range(draw(st.integers(1, 4))):
        shape = draw(pictures)
        row = draw(
            st.fixed_dictionaries(
                {
                    "part": words,
                    "slice": words,
                    "split": st.sampled_from([None, "train", "validation", "test"]),
                    "label": st.sampled_from([None, "good", "defect"]),
                    "defect_types": st.lists(kinds, max_size=3, unique=True),
                    "defect_probability": st.none() | st.floats(0, 1),
                    "boxes": st.none() | st.lists(boxes, max_size=3),
                    "labelled_by": st.none() | words,
                    "labelled_at": st.none() | words,
                    "licence": st.none() | words,
                    "accepted_by": st.none() | words,
                    "accepted_at": st.none() | words,
                    "synthetic": st.booleans(),
                    "drawn": st.none() | arrays.arrays(bool, shape),
                }
            )
        )
        pixels = np.full((*shape, 3), number, np.uint8)
        found.append(row | {"pixels": pixels, "height_px": shape[0], "width_px": shape[1], "format": "PNG"})
    return found


def written(rows: list[dict[str, Any]], target: Target, root: Path) -> tuple[Path, dict[str, int]]:
    for row in rows:
        data = codec.encode_png(row["pixels"])
        row["image"] = hashlib.sha256(data).hexdigest()
        row["file"] = f"images/{row['image']}.png"
        put(root / "data" / row["file"], data)
        row["source_path"] = f"{row['image'][:8]}/part.png"  # all have the same name
        row["mask"] = None
        if row["drawn"] is not None:
            row["mask"] = f"masks/{row['image']}.png"
            put(root / "data" / row["mask"], codec.encode_png(row["drawn"].astype(np.uint8) * 255))
    _, left_out = dataset_export.write(target, rows, root / "data", root / "out")
    return root / "out", left_out


def read_back(out: Path) -> dict[str, Delivery]:
    _, source = formats.read(str(out), SHARES)
    return {hashlib.sha256(item.read()).hexdigest(): item for item in source.deliveries}


def mask_of(item: Delivery) -> np.ndarray | None:
    return None if item.mask is None else codec.decode(item.mask())[..., 0] > 0


def same_boxes(row: dict[str, Any], item: Delivery) -> None:
    assert (item.boxes is None) == (row["boxes"] is None)
    for there, back in zip(row["boxes"] or (), item.boxes or (), strict=True):
        assert back.defect_type == there["defect_type"]
        for side in ("x", "y", "width", "height"):
            assert getattr(back, side) == pytest.approx(there[side], abs=1e-6)


@pytest.mark.parametrize("target", WHOLE)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=datasets())
def test_any_dataset_comes_back_as_it_was(target: Target, rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        out, left_out = written(rows, target, Path(root))
        assert left_out == {}
        after = read_back(out)
        assert len(after) == len(rows)
        for row in rows:
            item = after[row["image"]]
            for name in COLUMNS:
                assert getattr(item, name) == row[name], name
            assert list(item.defect_types) == row["defect_types"]
            same_boxes(row, item)
            drawn = mask_of(item)
            assert (drawn is None) == (row["drawn"] is None)
            if drawn is not None:
                assert np.array_equal(drawn, row["drawn"])


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=datasets())
def test_any_boxes_and_outlines_come_back_from_yolo(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        after = read_back(written(rows, Target.YOLO, Path(root))[0])
        assert len(after) == len(rows)
        for row in rows:
            item, drawn = after[row["image"]], row["drawn"]
            assert item.split == row["split"]
            if row["boxes"]:
                same_boxes(row, item)
                assert item.label == "defect"
            elif row["label"] == "good":
                assert (item.label, item.boxes) == ("good", [])
            elif row["label"] == "defect" and drawn is not None and drawn.any():
                back = mask_of(item)
                assert back is not None
                assert np.array_equal(back, ndimage.binary_fill_holes(drawn, structure=np.ones((3, 3))))
                assert item.defect_types == tuple(row["defect_types"][:1])
            else:
                assert (item.label, item.boxes) == (None, None)


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 40))))
def test_run_lengths_are_read_back_as_the_same_mask(mask: np.ndarray) -> None:
    runs = coco_masks.to_runs(mask)
    assert np.array_equal(coco_masks.from_runs(runs), mask)
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = [*([0] if flat[0] else []), *np.diff([0, *edges, flat.size]).tolist()]
    assert np.array_equal(coco_masks.from_runs({"size": list(mask.shape), "counts": counts}), mask)


# What a person changed in the other tool is that person's ---------------------------------------------------------


def labelled(root: Path, target: Target) -> tuple[Path, dict]:
    """One image with two boxes and a mask over both, handed over; the JSON file and its content."""
    drawn = np.zeros((9, 9), bool)
    drawn[1:8, 1:8] = True
    there = [{"x": 1, "y": 1, "width": 3, "height": 7, "defect_type": "scratch"}]
    there += [{"x": 5, "y": 1, "width": 3, "height": 7, "defect_type": "dent"}]
    row = dict.fromkeys((*COLUMNS, "defect_types"), None) | {
        "part": "serial 7",
        "slice": "matt",
        "split": "test",
        "label": "defect",
        "defect_types": ["scratch", "dent"],
        "labelled_by": "ada",
        "boxes": there,
        "drawn": drawn,
        "pixels": np.zeros((9, 9, 1), np.uint8),
        "height_px": 9,
        "width_px": 9,
        "format": "PNG",
        "synthetic": False,
    }
    out, _ = written([row], target, root)
    file = out / ("annotations.json" if target is Target.COCO else "tasks.json")
    return file, json.loads(file.read_text())


def test_coco_gives_every_box_its_share_of_the_mask(tmp_path: Path) -> None:
    _, content = labelled(tmp_path, Target.COCO)
    first, second = (coco_masks.from_runs(one["segmentation"]) for one in content["annotations"])
    assert not (first & second).any()
    assert (first | second).sum() == 49
    assert first[1:8, 1:4].all()
    assert second[1:8, 5:8].all()
    assert isinstance(content["annotations"][0]["segmentation"]["counts"], str)
    assert {entry["supercategory"] for entry in content["categories"]} == {"defect"}


@pytest.mark.parametrize("target", WHOLE)
def test_annotations_changed_elsewhere_are_no_longer_ours(target: Target, tmp_path: Path) -> None:
    file, content = labelled(tmp_path, target)
    if target is Target.COCO:
        content["annotations"] = []
    else:
        content[0]["annotations"] = [{"id": 1, "completed_by": {"email": "bob"}, "result": []}]
        content[0]["annotations"][0]["result"] = [
            {"id": "x", "type": "choices", "from_name": "label", "value": {"choices": ["good"]}}
        ]
    file.write_text(json.dumps(content))
    (item,) = read_back(file).values()
    assert (item.part, item.slice, item.split) == ("serial 7", "matt", "test")
    assert (item.label, item.defect_types, item.mask) == ("good", (), None)
    assert item.labelled_by == ("COCO annotations.json" if target is Target.COCO else "bob")


def test_label_studio_keeps_who_labelled_while_nobody_changes_it(tmp_path: Path) -> None:
    file, content = labelled(tmp_path, Target.LABEL_STUDIO)
    imported = content[0]["annotations"][0]
    imported |= {"id": 4, "completed_by": 1, "created_at": "2026-01-01T00:00:00Z"}  # who pressed “import”
    file.write_text(json.dumps(content))
    assert [item.labelled_by for item in read_back(file).values()] == ["ada"]
    imported["result"][2]["value"]["x"] += 5
    file.write_text(json.dumps(content))
    (item,) = read_back(file).values()
    assert (item.labelled_by, item.labelled_at) == ("Label Studio user 1", "2026-01-01T00:00:00+00:00")


def test_label_studio_is_told_where_the_images_are(empty_workspace: Workspace, tmp_path: Path, defectloop) -> None:
    put(tmp_path / "d" / "good" / "a.png", codec.encode_png(np.zeros((40, 40), np.uint8)))
    sink = io.BytesIO()
    Image.fromarray(np.zeros((40, 41), np.uint8)).save(sink, format="TIFF")
    put(tmp_path / "d" / "dent" / "b.tif", sink.getvalue())
    ingest(empty_workspace, str(tmp_path / "d"))
    done = defectloop("export", "label-studio", tmp_path / "to label", "-w", empty_workspace.root)
    assert f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={tmp_path}" in done.stdout
    assert "display of TIFF images in the browser, 1 images" in done.stdout
    tasks = json.loads((tmp_path / "to label" / "tasks.json").read_text())
    for task in tasks:
        assert task["data"]["image"].startswith("/data/local-files/?d=to%20label/images/")
    config = (tmp_path / "to label" / "labelling.xml").read_text()
    assert '<Label value="dent"/>' in config
    for one in (result for task in tasks for result in task["annotations"][0]["result"]):
        assert f'name="{one["from_name"]}"' in config


def test_images_keep_the_names_of_their_delivery_and_stay_apart() -> None:
    named = [("monday/Cell 1.png", "aa"), ("monday/a.png", "bb"), ("tuesday/A.jpg", "cc"), ("tuesday/b.png", "dd")]
    rows = [{"source_path": path, "image": key * 32, "file": f"images/x.{path[-3:]}"} for path, key in named]
    assert [types.name(row) for row in types.with_names(rows)] == [
        "Cell 1.png",
        "a-bbbbbbbbbbbbbbbb.png",
        "A-cccccccccccccccc.jpg",
        "b.png",
    ]
