"""Deliberately broken deliveries of every kind: refused before anything is written, with the file, the place and advice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from models.errors import BadData, UnreadableImage
from pipelines.ingest import formats
from pipelines.interchange import brush
from tests.conftest import picture
from tests.pipelines.ingest.test_formats import SHARES, coco, mvtec, put, voc, yolo

Maker = Callable[[Path], Path]
NAN = float("nan")


def label_studio(root: Path, *results: dict[str, Any], **annotation: Any) -> Path:
    """One task about a.png of 64 px with these results."""
    put(root / "images" / "a.png", picture(1, defective=True))
    said = {"id": 7, "completed_by": 3, "result": list(results)} | annotation
    return put(root / "export.json", json.dumps([{"id": 5, "data": {"image": "a.png"}, "annotations": [said]}]))


def region(kind: str, **value: Any) -> dict[str, Any]:
    size = {"original_width": 64, "original_height": 64, "image_rotation": 0}
    return {"id": "r1", "type": kind, "value": value | {kind: ["scratch"]}} | size


def with_yolo_line(line: str) -> Maker:
    return lambda root: put(yolo(root) / "labels/train/train.txt", f"0 0.5 0.5 0.25 0.125\n{line}\n").parents[2]


def with_voc(xml: str | bytes) -> Maker:
    return lambda root: put(voc(root) / "ANNOTATIONS/a.xml", xml).parents[1]


def voc_box(*sides: object) -> str:
    names = ("xmin", "ymin", "xmax", "ymax")
    inside = "".join(f"<{name}>{side}</{name}>" for name, side in zip(names, sides, strict=False))
    return f"<annotation>\n<object><name>x</name><bndbox>{inside}</bndbox></object></annotation>"


def with_coco(change: Callable[[dict], object]) -> Maker:
    def make(root: Path) -> Path:
        path = coco(root)
        content = json.loads(path.read_text())
        change(content)
        return put(path, json.dumps(content))

    return make


def annotated(**values: Any) -> Maker:
    """COCO whose second annotation, number 2, says this."""
    return with_coco(lambda content: content["annotations"][1].update(values))


def imaged(**values: Any) -> Maker:
    return with_coco(lambda content: content["images"][1].update(values))


def manifest(*lines: str) -> Maker:
    def make(root: Path) -> Path:
        put(root / "a.png", picture(1, defective=True))
        put(root / "b.png", picture(2, defective=False))
        return put(root / "m.csv", "\n".join(lines) + "\n")

    return make


def parquet_manifest(root: Path) -> Path:
    manifest("path")(root)
    parquet.write_table(pa.table({"path": ["a.png", "b.png"], "split": ["train", "holdout"]}), root / "m.parquet")
    return root / "m.parquet"


def without(make: Maker, name: str) -> Maker:
    def made(root: Path) -> Path:
        path = make(root)
        (root / name).unlink()
        return path

    return made


def two_coco_files(root: Path) -> Path:
    put(root / "second.json", coco(root).read_text())
    return root


ALL = 64 * 64
BRUSH = brush.packed(np.ones((64, 64), bool))
MISTAKES: dict[str, tuple[Maker, str]] = {
    "COCO: broken JSON": (lambda root: put(root / "n.json", '{"images": [],\n "categories": [}'), "n.json, line 2: "),
    "COCO: no UTF-8": (
        lambda root: put(root / "n.json", b'{"images": [],\n"categories": "\xff"}'),
        "n.json, line 2: byte 0xff",
    ),
    "COCO: image absent": (without(coco, "images/b.png"), "image b.png does not exist"),
    "COCO: no list": (with_coco(lambda c: c.update(images={})), "no list of images"),
    "COCO: no file name": (imaged(file_name=None), "entry 2 of images has no id or no file_name"),
    "COCO: image twice": (imaged(file_name="a.png"), "image a.png is listed twice"),
    "COCO: id twice": (imaged(id=1), "two entries of images have the id 1"),
    "COCO: no image_id": (
        with_coco(lambda c: c["annotations"][1].pop("image_id")),
        "annotation number 2 has no image_id",
    ),
    "COCO: unknown category": (annotated(category_id=9), "annotation 2: unknown category 9"),
    "COCO: three numbers": (annotated(bbox=[1, 2, 3]), "annotation 2: a box needs 4 numbers, not 3"),
    "COCO: negative box": (annotated(bbox=[1, 2, -3, 4]), "annotation 2: the box has no area: it is -3 wide"),
    "COCO: box of nothing": (annotated(bbox=[1, 2, 3, 0]), "annotation 2: the box has no area"),
    "COCO: NaN": (
        annotated(bbox=[1, NAN, 3, 4]),
        "annotation 2: box [1, nan, 3, 4] contains a number that is not finite",
    ),
    "COCO: text for a number": (annotated(bbox=["1", "two", 3, 4]), "annotation 2: box"),
    "COCO: odd polygon": (
        annotated(segmentation=[[1, 2, 3, 4, 5, 6, 7]]),
        "annotation 2: the polygon has an odd number",
    ),
    "COCO: two corners": (annotated(segmentation=[[1, 2, 3, 4]]), "annotation 2: the polygon has fewer than three"),
    "COCO: polygon of infinity": (annotated(segmentation=[[1, 2, 3, 4, 5, 1e999]]), "annotation 2: polygon"),
    "COCO: neither shape nor box": (annotated(bbox=None, segmentation=None), "annotation 2 has neither"),
    "COCO: runs too short": (
        annotated(segmentation={"size": [64, 64], "counts": [2, 3]}),
        "annotation 2: its run lengths add up to 5 pixels, but 64×64 px are 4096",
    ),
    "COCO: runs too long, compressed": (
        annotated(segmentation={"size": [4, 7], "counts": ";230009"}),
        "annotation 2: its run lengths add up to 35 pixels, but 7×4 px are 28",
    ),
    "COCO: compressed runs cut off": (
        annotated(segmentation={"size": [64, 64], "counts": "P"}),
        "annotation 2: its compressed run lengths are truncated",
    ),
    "COCO: no runs at all": (
        annotated(segmentation={"size": [64, 64], "counts": None}),
        "annotation 2: the counts of its",
    ),
    "COCO: negative run": (annotated(segmentation={"size": [64, 64], "counts": [-1, ALL + 1]}), "a negative number"),
    "COCO: our own key spoilt": (
        imaged(defectloop={"split": "holdout"}),
        "image 2: `defectloop` has an invalid split: 'holdout'",
    ),
    "COCO: which file": (two_coco_files, "has 2 COCO files (notes.json, second.json)"),
    "YOLO: four numbers in all": (with_yolo_line("0 0.5 0.5 0.25"), "train.txt, line 2: 3 numbers after the class"),
    "YOLO: unknown class": (
        with_yolo_line("7 0.5 0.5 0.1 0.1"),
        "line 2: '7 0.5 0.5 0.1 0.1' does not begin with a class number",
    ),
    "YOLO: class below zero": (
        with_yolo_line("-1 0.5 0.5 0.1 0.1"),
        "line 2: '-1 0.5 0.5 0.1 0.1' does not begin with a class",
    ),
    "YOLO: NaN": (with_yolo_line("0 0.5 nan 0.1 0.1"), "train.txt, line 2: line"),
    "YOLO: negative size": (with_yolo_line("0 0.5 0.5 -0.1 0.1"), "train.txt, line 2: the box has no area"),
    "YOLO: odd polygon": (
        with_yolo_line("0 .1 .1 .2 .2 .3 .1 .5"),
        "line 2: the polygon has an odd number of coordinates",
    ),
    "YOLO: a word": (with_yolo_line("0 0.5 0.5 wide 0.1"), "train.txt, line 2: line"),
    "YOLO: broken YAML": (
        lambda root: put(yolo(root) / "data.yaml", "names:\n  - a\n b: [").parent,
        "data.yaml, line 3",
    ),
    "YOLO: no names": (lambda root: put(yolo(root) / "data.yaml", "nc: 2\n").parent, "data.yaml has no names"),
    "YOLO: no UTF-8": (
        lambda root: put(yolo(root) / "labels/train/train.txt", b"0 .5 .5 .1 .1\n\xff\xfe").parents[2],
        "train.txt, line 2: byte 0xff",
    ),
    "VOC: broken XML": (with_voc("<annotation>\n<object>\n</annotation>"), "a.xml, line 3, column"),
    "VOC: no UTF-8": (with_voc(b"<annotation>\n\xff</annotation>"), "a.xml, line 2, column"),
    "VOC: no right edge": (with_voc(voc_box(1, 2, 3)), "a.xml, object 1 has no complete bndbox"),
    "VOC: NaN": (with_voc(voc_box(1, 2, "nan", 4)), "a.xml, object 1: bndbox"),
    "VOC: turned round": (with_voc(voc_box(9, 2, 3, 4)), "a.xml, object 1: the box has no area: it is -5 wide"),
    "VOC: two for one": (
        lambda root: put(voc(root) / "ANNOTATIONS2/a.xml", "<annotation/>").parents[1],
        "a.png has two XML files",
    ),
    "manifest: unknown split": (
        manifest("path,split", "a.png,train", "b.png,holdout"),
        "m.csv, line 3: unknown split",
    ),
    "manifest: unknown split in Parquet": (parquet_manifest, "m.parquet, row 2: unknown split 'holdout'"),
    "manifest: no Parquet": (lambda root: put(root / "m.parquet", b"PAR1"), "m.parquet is not a valid Parquet file"),
    "manifest: unknown label": (manifest("path,label", "a.png,scratch"), "m.csv, line 2: unknown label 'scratch'"),
    "manifest: a field too many": (manifest("path,label", "a.png,good", "b.png,good,x"), "m.csv, line 3: 3 fields"),
    "manifest: open quote": (manifest("path,label", '"a.png,good'), "m.csv, line 2: "),
    "manifest: unknown column": (manifest("path,colour", "a.png,red"), "m.csv, line 1: unknown columns colour"),
    "manifest: no path": (manifest("path,label", ",good"), "m.csv, line 2: the path is missing"),
    "manifest: path twice": (
        manifest("path", "a.png", "b.png", "a.png"),
        "m.csv, line 4: a.png is listed before, in line 2",
    ),
    "manifest: file absent": (manifest("path", "a.png", "c.png"), "1 files do not exist (first: c.png, line 3)"),
    "manifest: mask absent": (manifest("path,mask", "a.png,m.png"), "(first: m.png, line 2)"),
    "manifest: probability": (manifest("path,defect_probability", "a.png,nan"), "line 2: defect_probability 'nan'"),
    "manifest: boxes no JSON": (manifest("path,boxes", "a.png,[{]"), "m.csv, line 2: its boxes cannot be read"),
    "manifest: box without width": (
        manifest("path,boxes", 'a.png,"[{""x"": 1, ""y"": 2, ""height"": 3}]"'),
        "m.csv, line 2: its boxes cannot be read: 'width' is missing",
    ),
    "manifest: no UTF-8": (
        lambda root: put(root / "m.csv", b"path\na\xe4.png\n"),
        "m.csv, line 2: byte 0xe4 is not valid UTF-8",
    ),
    "Label Studio: broken JSON": (
        lambda root: put(root / "e.json", '[{"annotations": [],\n "data": {]}'),
        "e.json, line 2: ",
    ),
    "Label Studio: no list": (
        lambda root: put(root / "e.json", '["annotations", "data"]'),
        "e.json is not a list of tasks",
    ),
    "Label Studio: no image": (
        lambda root: put(root / "e.json", '[{"id": 5, "data": {"text": "x"}, "annotations": []}]'),
        "e.json, task 5 names no image",
    ),
    "Label Studio: image absent": (
        without(label_studio, "images/a.png"),
        "1 images do not exist (first: a.png, task 5)",
    ),
    "Label Studio: result no list": (
        lambda root: label_studio(root, result="x"),
        "task 5, annotation 7: `result` is not a list",
    ),
    "Label Studio: no time": (lambda root: label_studio(root, updated_at="soon"), "annotation 7: 'soon' is not a time"),
    "Label Studio: no height": (
        lambda root: label_studio(root, region("ellipselabels", x=1, y=2, radiusX=3)),
        "task 5, annotation 7, result r1: its ellipse has no radiusY",
    ),
    "Label Studio: negative": (
        lambda root: label_studio(root, region("rectanglelabels", x=1, y=2, width=-5, height=3)),
        "annotation 7, result r1: the width of its rectangle is -5",
    ),
    "Label Studio: NaN": (
        lambda root: label_studio(root, region("rectanglelabels", x=1, y=NAN, width=5, height=3)),
        "annotation 7, result r1: rectangle",
    ),
    "Label Studio: half a point": (
        lambda root: label_studio(root, region("polygonlabels", points=[[1, 2], [3, 4], [5]])),
        "result r1: a point of its polygon has 1 coordinates",
    ),
    "Label Studio: two corners": (
        lambda root: label_studio(root, region("polygonlabels", points=[[1, 2], [3, 4]])),
        "result r1: the polygon has fewer than three corners",
    ),
    "Label Studio: brush of another image": (
        lambda root: label_studio(root, region("brushlabels", rle=BRUSH) | {"original_width": 65}),
        "annotation 7: its brush mask has 16384 values instead of 16640 for 65×64 px",
    ),
    "Label Studio: no brush": (
        lambda root: label_studio(root, region("brushlabels", rle=[1, 2])),
        "truncated in the header",
    ),
    "Label Studio: no bytes": (lambda root: label_studio(root, region("brushlabels", rle=[999] * 9)), "are not bytes"),
    "Label Studio: turned image": (
        lambda root: label_studio(
            root, region("rectanglelabels", x=1, y=2, width=3, height=4) | {"image_rotation": 90}
        ),
        "result r1 was drawn on an image rotated by 90 degrees",
    ),
    "Label Studio: good and bad": (
        lambda root: label_studio(root, {"type": "choices", "value": {"choices": ["good", "scratch"]}}),
        "task 5, annotation 7 has contradictory choices: good, scratch",
    ),
    "an archive": (lambda root: put(root / "x.zip", b"PK"), "is an archive"),
    "nothing there": (lambda root: root / "nowhere", "is not a folder"),
}


@pytest.mark.parametrize(("make", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_file_and_place(make: Maker, says: str, tmp_path: Path) -> None:
    source = make(tmp_path / "delivery")
    with pytest.raises(BadData) as caught:
        formats.read(str(source), SHARES)
    assert says in caught.value.message
    assert str(tmp_path) in caught.value.message
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            annotated(segmentation={"size": [32, 32], "counts": [0, 1024]}),
            "image 3: the mask has 32×32 px, but the image has 64",
        ),
        (
            lambda root: label_studio(
                root,
                region("brushlabels", rle=brush.packed(np.ones((32, 32), bool)))
                | {"original_width": 32, "original_height": 32},
            ),
            "task 5, annotation 7: the mask has 32×32 px, but the image has 64×64",
        ),
    ],
)
def test_a_mask_of_another_size_is_named_when_it_is_drawn(make: Maker, says: str, tmp_path: Path) -> None:
    _, source = formats.read(str(make(tmp_path / "delivery")), SHARES)
    (item,) = (one for one in source.deliveries if one.mask and one.name in ("c.png", "images/a.png"))
    assert item.mask is not None
    with pytest.raises(UnreadableImage) as caught:
        item.mask()
    assert says in caught.value.message
    assert str(tmp_path) in caught.value.message


def test_a_box_over_the_edge_is_kept_for_the_audit(tmp_path: Path) -> None:
    for make in (annotated(bbox=[60, 2, 10, 3]), with_yolo_line("0 1 0.5 0.25 0.125"), with_voc(voc_box(60, 5, 80, 9))):
        _, source = formats.read(str(make(tmp_path / str(id(make)))), SHARES)
        assert any(box.x + box.width > 64 for item in source.deliveries for box in item.boxes or ())


def test_what_has_no_counterpart_is_named(tmp_path: Path) -> None:
    tiles = tmp_path / "tiles" / "crack"
    for number in range(20):
        put(tiles / f"{number}.jpg", b"")
        put(tiles / f"{number}.png", b"")
    put(tiles / "alone.jpg", b"")
    put(tiles / "lost.png", b"")
    assert _remarks(tmp_path / "tiles") == {
        "image without a mask, ingested without one": ["crack/alone.jpg"],
        "mask without image": ["crack/lost.png"],
    }

    put(yolo(tmp_path / "yolo") / "labels" / "train" / "gone.txt", "")
    put(tmp_path / "yolo" / "images" / "train" / "bare.png", picture(9, defective=False))
    assert _remarks(tmp_path / "yolo") == {
        "label file without image": ["labels/train/gone.txt"],
        "image without a label file, ingested without a label": ["images/train/bare.png"],
    }

    put(voc(tmp_path / "voc") / "ANNOTATIONS" / "gone.xml", "<annotation/>")
    assert _remarks(tmp_path / "voc") == {"XML file without image": ["ANNOTATIONS/gone.xml"]}

    put(mvtec(tmp_path / "mvtec") / "ground_truth" / "dent" / "gone_mask.png", b"")
    put(tmp_path / "mvtec" / "test" / "dent" / "bare.png", b"")
    assert _remarks(tmp_path / "mvtec") == {
        "defective image without a mask": ["test/dent/bare.png"],
        "mask without image": ["ground_truth/dent/gone_mask.png"],
    }

    strays = with_coco(lambda content: content["annotations"][1].update(image_id=99))(tmp_path / "coco")
    assert _remarks(strays) == {"annotation of an image that the file does not list": ["annotation 2"]}

    put(tmp_path / "plain" / "good" / "a.png", picture(1, defective=False))
    put(tmp_path / "plain" / "labels.csv", "a")
    assert _remarks(tmp_path / "plain") == {"file that is not an image": ["labels.csv"]}


def _remarks(source: Path) -> dict[str, list[str]]:
    chosen, opened = formats.read(str(source), SHARES)
    return formats.count(chosen, opened).remarks
