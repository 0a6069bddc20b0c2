"""Deliveries that make no sense: each is refused, or costs the one image that it is about, with a sentence. None is taken in
without a word, none ends in a traceback."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.dataset import annotation_table
from models.errors import DefectloopError
from pipelines.image_files import quarantine
from pipelines.ingest import formats
from pipelines.ingest.describe import described
from pipelines.ingest.ingest import take_in
from pipelines.ingest.released import release
from pipelines.workspace import Workspace
from tests.conftest import picture
from tests.pipelines.ingest.test_broken_input import (
    annotated,
    imaged,
    label_studio,
    manifest,
    region,
    with_coco,
    with_yolo_line,
)
from tests.pipelines.ingest.test_formats import SHARES, coco, put, voc, yolo

Maker = Callable[[Path], Path]
DEEP = "[" * 100_000


def boxes(*found: dict[str, Any], label: str = "defect") -> Maker:
    text = json.dumps(found).replace('"', '""')
    return manifest("path,label,boxes", f'a.png,{label},"{text}"')


def box(**changes: Any) -> dict[str, Any]:
    return {"x": 1, "y": 2, "width": 3, "height": 4} | changes


def bomb() -> str:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))]
    return "\n".join([*lines, "names: *a11"])


def named(raw: bytes) -> Maker:
    def make(root: Path) -> Path:
        put(root / "good" / "b.png", picture(2, defective=False))
        with open(os.fsencode(root / "good") + b"/" + raw, "wb") as sink:
            sink.write(picture(1, defective=False))
        return root

    return make


def with_yaml(text: str) -> Maker:
    return lambda root: put(yolo(root) / "data.yaml", text).parent


def with_xml(text: str) -> Maker:
    return lambda root: put(voc(root) / "ANNOTATIONS" / "a.xml", text).parents[1]


# What is refused as a whole: the structure of a file is wrong.
REFUSED: dict[str, tuple[Maker, str]] = {
    "COCO: nested 100,000 deep": (
        lambda root: put(root / "n.json", '{"images": [], "categories": ' + DEEP),
        "nested too deep",
    ),
    "COCO: a number of 5,000 digits": (
        lambda root: put(root / "n.json", '{"images": [], "categories": [' + "9" * 5000 + "]}"),
        "a number cannot be read",
    ),
    "COCO: run lengths of 10¹² pixels": (
        annotated(segmentation={"size": [10**6, 10**6], "counts": [0, 10**12]}),
        "run lengths are for 1000000×1000000 px",
    ),
    "COCO: a run length without end": (annotated(segmentation={"size": [64, 64], "counts": "o" * 5000}), "does not end"),
    "COCO: a category that is a list": (annotated(category_id=[3]), "unknown category [3]"),
    "COCO: an image id that is a list": (annotated(image_id=[1]), "has no image_id"),
    "COCO: annotations are an object": (with_coco(lambda c: c.update(annotations={})), "`annotations` is not a list"),
    "COCO: a box of true and false": (annotated(bbox=[True, 1, 2, 3]), "is not a list of numbers"),
    "COCO: an infinite box": (annotated(bbox=[1, 2, float("inf"), 3]), "not finite"),
    "COCO: a split that is a list": (imaged(defectloop={"split": ["train"]}), "has an invalid split: ['train']"),
    "COCO: a name with a NUL": (imaged(file_name="b\0.png"), "does not exist"),
    "YOLO: an alias bomb": (with_yaml(bomb()), "expands to more than 1,000,000 values"),
    "YOLO: brackets without end": (with_yaml("names: " + DEEP), "nested deeper than 100 levels"),
    "YOLO: a key twice": (with_yaml("names: {0: a, 0: b}"), "occurs twice"),
    "YOLO: a class that is null": (with_yaml("names: [null, dent]"), "the name of class 0 is None"),
    "YOLO: a class that YAML takes for false": (with_yaml("names: [scratch, no]"), "the name of class 1 is False"),
    "YOLO: a class that is a list": (with_yaml("names: [[a], b]"), "the name of class 0 is ['a']"),
    "YOLO: half a class number": (with_yaml("names: {0.5: a}"), "the class 0.5 under `names:` has no number"),
    "YOLO: a class of 5,000 digits": (with_yolo_line("9" * 5000 + " .5 .5 .1 .1"), "does not begin with a class number"),
    "VOC: nested entities": (
        with_xml(
            '<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">'
            + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
            + "]><annotation>&j;</annotation>"
        ),
        "amplification",
    ),
    "VOC: an entity that is a file": (
        with_xml('<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'),
        "undefined entity",
    ),
    "VOC: another kind of XML": (
        lambda root: put(voc(root) / "ANNOTATIONS" / "b.xml", "<project/>").parents[1],
        "its root is project, not annotation",
    ),
    "manifest: a column twice": (manifest("path,label,label", "a.png,good,defect"), "the column 'label' occurs twice"),
    "manifest: a type that is an object": (boxes(box(defect_type={"a": 1})), "the defect type {'a': 1} is not text"),
    "manifest: boxes nested 100,000 deep": (manifest("path,boxes", f"a.png,{DEEP}"), "its boxes cannot be read"),
    "manifest: an infinite box": (boxes(box(x=float("inf"))), "not finite"),
    "manifest: a name with a NUL": (manifest("path", '"a\0.png"'), "1 files do not exist"),
    "Label Studio: nested 100,000 deep": (
        lambda root: put(root / "e.json", '[{"annotations": [], "data": ' + DEEP),
        "nested too deep",
    ),
    "Label Studio: an enormous brush": (
        lambda root: label_studio(
            root, region("brushlabels", rle=[255] * 9) | {"original_width": 10**6, "original_height": 10**6}
        ),
        "more than the limit of 134,217,728",
    ),
    "folder: only links that lead nowhere": (
        lambda root: ((root / "good").mkdir(parents=True), (root / "good" / "a.png").symlink_to("b.png"), root)[2],
        "broken links",
    ),
}  # fmt: skip

# What costs one image.
ONE_IMAGE: dict[str, tuple[Maker, str]] = {
    "folder: a name that is no UTF-8": (named(b"caf\xe9.png"), "its file name contains invalid UTF-8 (\\xe9)"),
    "folder: a name with an escape sequence": (named(b"\x1b[31ma.png"), "a control character (\\x1b)"),
    "folder: a name with a line end": (named(b"a\n.png"), "a control character (\\x0a)"),
    "folder: a name that reads otherwise": (named("a\u202egnp.png".encode()), "changes the text direction (U+202E)"),
    "COCO: a box outside the image": (annotated(bbox=[900, 2, 3, 4]), "a box lies outside the image"),
    "COCO: a box of another image's size": (annotated(bbox=[1, 2, 10**30, 4]), "the image's own size beyond"),
    "COCO: a polygon in other units": (
        annotated(bbox=[1, 2, 3, 4], segmentation=[[1, 2, 1e9, 2, 3, 1e9]]),
        "a polygon extends more than 10 times",
    ),
    "VOC: a box outside the image": (
        with_xml(
            "<annotation><object><name>x</name><bndbox><xmin>70</xmin><ymin>1</ymin><xmax>80</xmax><ymax>9</ymax>"
            "</bndbox></object></annotation>"
        ),
        "a box lies outside the image",
    ),
    "YOLO: a box outside the image": (with_yolo_line("0 2 2 .1 .1"), "a box lies outside the image"),
    "YOLO: pixels where shares belong": (with_yolo_line("0 32 32 10 10"), "a box lies outside the image"),
    "Label Studio: a box outside the image": (
        lambda root: label_studio(root, region("rectanglelabels", x=120, y=2, width=5, height=5)),
        "a box lies outside the image",
    ),
    "manifest: a good image with boxes": (boxes(box(), label="good"), "it is labelled good and has boxes (1)"),
    "manifest: a good image with a type": (
        manifest("path,label,defect_types", "a.png,good,scratch"),
        "it is labelled good and has a type of defect (scratch)",
    ),
    "manifest: a slice of 300 characters": (manifest("path,slice", f"a.png,{'x' * 300}"), "its slice has 300 characters"),
    "manifest: a part with a line end": (manifest("path,part", 'a.png,"a\nb"'), "its part contains a control character"),
    "manifest: a type with a line end": (
        manifest("path,label,defect_types", 'a.png,defect,"a\nb"'),
        "its defect type contains a control character",
    ),
    "manifest: a labeller with an escape sequence": (
        manifest("path,labelled_by", "a.png,\x1b[31mme"),
        "its labelled_by contains a control character",
    ),
    "COCO: a category that is half a character": (
        with_coco(lambda content: content["categories"][0].update(name="\ud800")),
        "its defect type contains invalid UTF-8 (\\ud800)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED)
def test_nonsense_in_a_file_refuses_the_delivery_with_a_sentence(make: Maker, says: str, tmp_path: Path) -> None:
    source = make(tmp_path / "delivery")
    with pytest.raises(DefectloopError) as caught:
        formats.read(str(source), SHARES)
    assert says in caught.value.message
    assert len(caught.value.message) < 1000
    assert caught.value.next_step


@pytest.mark.parametrize(("make", "says"), ONE_IMAGE.values(), ids=ONE_IMAGE)
def test_nonsense_about_an_image_costs_that_image(make: Maker, says: str, tmp_path: Path) -> None:
    _, source = formats.read(str(make(tmp_path / "delivery")), SHARES)
    items = list(described(source, "line"))
    reasons = [item.problem or item.row.get("decode_error") or "" for item in items]
    assert any(says in reason for reason in reasons), reasons
    json.dumps([item.row for item in items], ensure_ascii=False).encode()


def test_one_bad_name_costs_one_image_which_a_person_can_release(empty_workspace: Workspace, tmp_path: Path) -> None:
    _, source = formats.read(str(named(b"caf\xe9.png")(tmp_path / "delivery")), SHARES)
    report = take_in(empty_workspace, source)
    assert (report.added, [entry.path for entry in report.quarantined]) == (1, ["delivery/good/caf\\xe9.png"])
    assert take_in(empty_workspace, source).already_present == 2
    assert release(empty_workspace, quarantine.entries(empty_workspace), label=None, reviewer=None).added == 1
    assert set(annotation_table.load(empty_workspace.annotations)["source_path"].to_pylist()) == {
        "good/b.png",
        "good/caf\\xe9.png",
    }


def test_an_image_that_was_refused_comes_in_once_it_is_corrected(empty_workspace: Workspace, tmp_path: Path) -> None:
    wrong = formats.read(str(boxes(box(), label="good")(tmp_path / "delivery")), SHARES)[1]
    assert take_in(empty_workspace, wrong).added == 0
    right = formats.read(str(manifest("path,label", "a.png,good")(tmp_path / "delivery")), SHARES)[1]
    assert take_in(empty_workspace, right).added == 1
    assert quarantine.entries(empty_workspace) == []


def test_a_coco_file_without_annotations_says_nothing_about_its_images(tmp_path: Path) -> None:
    _, source = formats.read(str(with_coco(lambda c: c.pop("annotations"))(tmp_path / "delivery")), SHARES)
    assert {item.label for item in source.deliveries} == {None}
    assert source.remarks


def test_parts_that_pandas_left_out_are_not_one_part_called_nan(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    manifest("path")(tmp_path)
    table = pa.table({"path": ["a.png", "b.png"], "part": [float("nan"), float("nan")]})
    parquet.write_table(table, tmp_path / "m.parquet")
    _, source = formats.read(str(tmp_path / "m.parquet"), SHARES)
    assert [item.part for item in source.deliveries] == [None, None]


def saved(mode: str, format: str, size: tuple[int, int] = (64, 64), **more: Any) -> bytes:
    sink = io.BytesIO()
    Image.new(mode, size).save(sink, format=format, **more)
    return sink.getvalue()


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


TURNED = Image.Exif()
TURNED[0x0112] = 6
FRAMES = [Image.new("L", (64, 64), shade) for shade in (0, 90)]
IMAGES: dict[str, tuple[bytes, str | tuple[int, int, int]]] = {  # what is wrong, or width, height and channels
    "empty": (b"", "The file is empty"),
    "cut off": (picture(1, defective=True)[:200], "cannot be decoded"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not a supported image format"),
    "HTML": (b"<!doctype html>404", "not a supported image format"),
    "a bomb of 30,000 × 30,000": (png_header(30_000, 30_000), "more than the limit"),
    "a bomb of 2³¹ pixels a side": (png_header(2**31 - 1, 2**31 - 1), "more than the limit"),
    "no pixels": (png_header(0, 0), "cannot be decoded"),
    "one pixel": (saved("L", "PNG", (1, 1)), (1, 1, 1)),
    "CMYK": (saved("CMYK", "JPEG"), (64, 64, 3)),
    "palette with alpha": (saved("P", "PNG", transparency=0), (64, 64, 3)),
    "16 bits": (saved("I;16", "PNG"), (64, 64, 1)),
    "floating point": (saved("F", "TIFF"), "not supported"),
    "animated": (saved("L", "WEBP", save_all=True, append_images=FRAMES), (64, 64, 3)),
    "two pages": (saved("L", "TIFF", save_all=True, append_images=FRAMES), (64, 64, 1)),
    "turned by EXIF": (saved("L", "JPEG", (64, 32), exif=TURNED), (32, 64, 1)),
}


@pytest.mark.parametrize(("data", "expected"), IMAGES.values(), ids=IMAGES)
def test_odd_images_are_read_or_named(data: bytes, expected: str | tuple[int, int, int], tmp_path: Path) -> None:
    put(tmp_path / "delivery" / "good" / "odd.png", data)
    _, source = formats.read(str(tmp_path / "delivery"), SHARES)
    [item] = described(source, "line")
    if isinstance(expected, str):
        assert expected in item.row["decode_error"]
    else:
        assert (item.row["width_px"], item.row["height_px"], item.row["channels"]) == expected


def test_no_image_of_a_hostile_delivery_enters_the_table_unseen(empty_workspace: Workspace, tmp_path: Path) -> None:
    """All of them through the real door, one after the other: each ends in quarantine and the table stays readable."""
    for number, (name, (make, _)) in enumerate(ONE_IMAGE.items()):
        _, source = formats.read(str(make(tmp_path / f"delivery{number}")), SHARES)
        take_in(empty_workspace, replace(source, name=f"delivery{number}"))
        assert annotation_table.load(empty_workspace.annotations) is not None, name
    paths = [entry.path for entry in quarantine.entries(empty_workspace)]
    assert len(paths) >= len(ONE_IMAGE)


def test_a_coco_delivery_is_still_read(tmp_path: Path) -> None:
    _, source = formats.read(str(coco(tmp_path / "delivery")), SHARES)
    assert [item.problem for item in described(source, "line")] == [None] * 3
