"""Every format, small and generated: recognised, read whole, and refused with file and line when it is broken."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.dataset import annotation_table
from models.errors import BadInput
from models.images import codec
from models.params import SplitShares
from pipelines.ingest import formats
from pipelines.ingest.formats import Format
from pipelines.ingest.ingest import ingest
from pipelines.workspace import Workspace
from tests.conftest import picture
from tests.models.images.test_near_duplicates import surface

SHARES = SplitShares(train=0.6, validation=0.15, test=0.25)
REAL = Path(os.environ.get("DATASETS", "datasets"))


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def mask(*box: int, size: int = 64) -> bytes:
    pixels = np.zeros((size, size), dtype=np.uint8)
    if box:
        x, y, width, height = box
        pixels[y : y + height, x : x + width] = 255
    return codec.encode_png(pixels)


def jpeg(seed: int, *, defective: bool) -> bytes:
    sink = io.BytesIO()
    Image.open(io.BytesIO(picture(seed, defective=defective))).save(sink, format="JPEG")
    return sink.getvalue()


def mvtec(root: Path) -> Path:
    for number in range(10):
        put(root / "train" / "good" / f"{number:03}.png", picture(number, defective=False))
    for number in range(3):
        put(root / "test" / "good" / f"{number:03}.png", picture(100 + number, defective=False))
        put(root / "test" / "dent" / f"{number:03}.png", picture(200 + number, defective=True))
        put(root / "ground_truth" / "dent" / f"{number:03}_mask.png", mask(5, 6, 7, 8))
    return root


def same_stem(root: Path) -> Path:
    for kind, box in (("MT_Crack", (1, 2, 3, 4)), ("MT_Free", ())):
        for number in range(3):
            name = f"exp{number}_num_{7 if kind == 'MT_Crack' else 8}"
            put(root / kind / "Imgs" / f"{name}.jpg", jpeg(number, defective=bool(box)))
            put(root / kind / "Imgs" / f"{name}.png", mask(*box))
    return root


def voc(root: Path) -> Path:
    put(root / "IMAGES" / "a.png", picture(1, defective=True))
    put(root / "IMAGES" / "b.png", picture(2, defective=False))
    box = "<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>15</xmax><ymax>30</ymax></bndbox>"
    put(root / "ANNOTATIONS" / "a.xml", f"<annotation>\n<object><name>scratch</name>{box}</object>\n</annotation>")
    put(root / "ANNOTATIONS" / "b.xml", "<annotation></annotation>")
    return root


def yolo(root: Path) -> Path:
    put(root / "data.yaml", "names: [scratch, dent]\n")
    for split, text in (("train", "0 0.5 0.5 0.25 0.125\n"), ("val", "1 0.25 0.25 0.5 0.25 0.5 0.5\n"), ("test", "")):
        put(root / "images" / split / f"{split}.png", picture(len(split), defective=bool(text)))
        put(root / "labels" / split / f"{split}.txt", text)
    return root


def coco(root: Path) -> Path:
    content = {
        "categories": [{"id": 3, "name": "scratch"}],
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}, {"id": 3, "file_name": "c.png"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 3,
                "bbox": [10, 20, 5, 6],
                "segmentation": [[10, 20, 14, 20, 14, 25, 10, 25]],
            },
            {
                "id": 2,
                "image_id": 3,
                "category_id": 3,
                "bbox": [0, 2, 1, 3],
                "segmentation": {"size": [64, 64], "counts": [2, 3, 64 * 64 - 5]},
            },
        ],
    }
    for number, name in enumerate("abc"):
        put(root / "images" / f"{name}.png", picture(number, defective=name != "b"))
    return put(root / "notes.json", json.dumps(content))


MAKERS = {Format.MVTEC: mvtec, Format.MASKS: same_stem, Format.VOC: voc, Format.YOLO: yolo, Format.COCO: coco}


@pytest.mark.parametrize("format", MAKERS, ids=str)
def test_every_format_is_recognised_by_itself(format: Format, tmp_path: Path) -> None:
    assert formats.recognise(str(MAKERS[format](tmp_path / "delivery"))) is format


def rows(place: Workspace, source: Path, **options: object) -> dict[str, dict]:
    ingest(place, str(source), **options)  # type: ignore[arg-type]
    return {row["source_path"]: row for row in annotation_table.load(place.annotations).to_pylist()}


def pixels(place: Workspace, row: dict) -> np.ndarray:
    return codec.read(place.data / row["mask"])[..., 0]


def test_mvtec_keeps_its_test_list_and_its_masks(empty_workspace: Workspace, tmp_path: Path) -> None:
    found = rows(empty_workspace, mvtec(tmp_path / "bottle"))
    assert {row["split"] for name, row in found.items() if name.startswith("test/")} == {"test"}
    assert {row["split"] for name, row in found.items() if name.startswith("train/")} == {"train", "validation"}
    dent = found["test/dent/000.png"]
    assert (dent["label"], dent["defect_types"]) == ("defect", ["dent"])
    assert np.argwhere(pixels(empty_workspace, dent)).min(0).tolist() == [6, 5]
    assert pixels(empty_workspace, dent).astype(bool).sum() == 7 * 8


def test_masks_beside_images_and_parts_from_their_names(empty_workspace: Workspace, tmp_path: Path) -> None:
    found = rows(empty_workspace, same_stem(tmp_path / "tiles"), part_from=r"num_(\d+)")
    assert len(found) == 6
    assert {row["part"] for row in found.values()} == {"7", "8"}
    for part in "78":
        assert len({row["split"] for row in found.values() if row["part"] == part}) == 1
    assert found["MT_Free/Imgs/exp0_num_8.jpg"]["label"] == "good"
    assert found["MT_Crack/Imgs/exp0_num_7.jpg"]["defect_types"] == ["MT_Crack"]


def test_voc_corners_become_boxes_in_pixels(empty_workspace: Workspace, tmp_path: Path) -> None:
    found = rows(empty_workspace, voc(tmp_path / "neu"))
    assert found["IMAGES/a.png"]["boxes"] == [{"x": 10, "y": 20, "width": 5, "height": 10, "defect_type": "scratch"}]
    assert (found["IMAGES/b.png"]["label"], found["IMAGES/b.png"]["boxes"]) == ("good", [])


def test_yolo_boxes_polygons_and_splits(empty_workspace: Workspace, tmp_path: Path) -> None:
    found = rows(empty_workspace, yolo(tmp_path / "yolo"))
    box = found["images/train/train.png"]
    assert box["boxes"] == [{"x": 24, "y": 28, "width": 16, "height": 8, "defect_type": "scratch"}]
    assert {name.split("/")[1]: row["split"] for name, row in found.items()} == {
        "train": "train",
        "val": "validation",
        "test": "test",
    }
    polygon = pixels(empty_workspace, found["images/val/val.png"])
    assert polygon[18, 30] == 255
    assert polygon[30, 18] == 0


def test_coco_polygons_and_run_lengths(empty_workspace: Workspace, tmp_path: Path) -> None:
    found = rows(empty_workspace, coco(tmp_path / "coco"))
    assert pixels(empty_workspace, found["a.png"])[22, 12] == 255
    assert np.argwhere(pixels(empty_workspace, found["c.png"])).tolist() == [[2, 0], [3, 0], [4, 0]]
    assert found["b.png"]["label"] == "good"


@pytest.mark.parametrize("format", MAKERS, ids=str)
def test_a_second_ingest_adds_nothing(format: Format, empty_workspace: Workspace, tmp_path: Path) -> None:
    source = str(MAKERS[format](tmp_path / "delivery"))
    first, second = ingest(empty_workspace, source), ingest(empty_workspace, source)
    assert first.added > 0
    assert (second.added, second.already_present) == (0, first.added)


def test_a_mask_of_another_size_is_found_by_the_contract(empty_workspace: Workspace, tmp_path: Path) -> None:
    root = same_stem(tmp_path / "tiles")
    put(root / "MT_Crack" / "Imgs" / "exp0_num_7.png", mask(1, 1, 2, 2, size=32))
    found = rows(empty_workspace, root)
    assert "32×32 px" in found["MT_Crack/Imgs/exp0_num_7.jpg"]["decode_error"]


def test_an_expression_that_finds_no_part_is_an_error(empty_workspace: Workspace, tmp_path: Path) -> None:
    for expression in ("serial(", r"serial_(\d+)"):
        with pytest.raises(BadInput, match="--part-from"):
            ingest(empty_workspace, str(same_stem(tmp_path / "tiles")), part_from=expression)


def test_a_dry_run_says_what_it_found_and_writes_nothing(
    empty_workspace: Workspace, tmp_path: Path, defectloop
) -> None:
    done = defectloop("ingest", coco(tmp_path / "coco"), "--dry-run", "-w", empty_workspace.root)
    assert "coco: 3 images, 3 labelled, 2 masks, 2 boxes, 0 parts; 3 images without a stated part" in done.stdout
    assert "classes: 1 good, 2 scratch" in done.stdout
    assert not empty_workspace.annotations.exists()


def test_a_dry_run_shows_which_images_would_share_a_part(
    empty_workspace: Workspace, tmp_path: Path, defectloop
) -> None:
    folder = tmp_path / "photos" / "good"
    folder.mkdir(parents=True)
    for seed in range(20):
        Image.fromarray(surface(seed, 64)[..., 0]).save(folder / f"{seed:02d}.png")
    Image.fromarray(surface(3, 64)[..., 0]).save(folder / "again.jpg", quality=60)
    done = defectloop("ingest", folder.parent, "--dry-run", "-w", empty_workspace.root)
    assert "1 would be grouped with near duplicates (parts: 1, the largest with 2 images)" in done.stdout
    assert "for example good/03.png, good/again.jpg" in done.stdout
    assert not empty_workspace.annotations.exists()


@pytest.mark.skipif(not REAL.exists(), reason="the real data sets are not here")
@pytest.mark.parametrize(
    ("name", "format", "images_", "masks_", "boxes_"),
    [
        ("mvtec_bottle_256/bottle", Format.MVTEC, 292, 63, 0),
        ("magnetic_tile", Format.MASKS, 1345, 1345, 0),
        ("neu_det", Format.VOC, 1800, 0, 4189),
        ("x_sdd/X-SDD/datas", Format.FOLDER, 1360, 0, 0),
        ("x_sdd", Format.FOLDER, 1360, 0, 0),
    ],
)
def test_real_data_sets_are_recognised(name: str, format: Format, images_: int, masks_: int, boxes_: int) -> None:
    chosen, source = formats.read(str(REAL / name), SHARES)
    found = formats.count(chosen, source)
    assert (found.format, found.images, found.masks, found.boxes) == (format, images_, masks_, boxes_)
    assert len(found.classes) >= 4


def labels(source: Path) -> dict[str, tuple[str | None, tuple[str, ...], str | None]]:
    _, opened = formats.read(str(source), SHARES)
    return {item.name: (item.label, tuple(item.defect_types), item.split) for item in opened.deliveries}


def test_folders_around_the_classes_are_splits_or_wrapping(tmp_path: Path) -> None:
    for place in ("plain", "deep/wrapping/of/it", "deep/split/train"):
        for name in ("good", "scratch", "not ok", "no_defect"):
            put(tmp_path / place / name / "a.png", b"")
    assert labels(tmp_path / "plain") == {
        "good/a.png": ("good", (), None),
        "scratch/a.png": ("defect", ("scratch",), None),
        "not ok/a.png": ("defect", ("not ok",), None),
        "no_defect/a.png": ("good", (), None),
    }
    assert labels(tmp_path / "deep" / "wrapping")["of/it/scratch/a.png"] == ("defect", ("scratch",), None)
    assert labels(tmp_path / "deep" / "split")["train/scratch/a.png"] == ("defect", ("scratch",), "train")


def test_a_folder_of_one_type_names_it_whatever_lies_in_it(tmp_path: Path) -> None:
    put(tmp_path / "x" / "scratch" / "monday" / "a.png", b"")
    assert labels(tmp_path / "x") == {"scratch/monday/a.png": ("defect", ("scratch",), None)}


@pytest.mark.parametrize(
    ("image", "mask_"),
    [("images/{}.png", "masks/{}.png"), ("train/images/{}.jpg", "train/masks/{}_mask.png"), ("{}.png", "{}_mask.png")],
)
def test_masks_in_a_folder_of_their_own_say_what_is_good(image: str, mask_: str, tmp_path: Path) -> None:
    root = tmp_path / "masks" / "delivery"  # the path above the delivery says nothing
    for name, marked in (("a", mask(1, 2, 3, 4)), ("b", mask())):
        put(root / image.format(name), picture(ord(name), defective=True))
        put(root / mask_.format(name), marked)
    found = labels(root)
    split = "train" if image.startswith("train") else None
    assert found == {image.format("a"): ("defect", (), split), image.format("b"): ("good", (), split)}


def test_several_mvtec_categories_side_by_side_are_slices(tmp_path: Path) -> None:
    mvtec(tmp_path / "all" / "bottle")
    mvtec(tmp_path / "all" / "cable")
    put(tmp_path / "all" / "licence.png", b"")
    _, opened = formats.read(str(tmp_path / "all"), SHARES)
    assert {item.slice for item in opened.deliveries} == {"bottle", "cable"}
    assert {item.part for item in opened.deliveries} == {None}  # a path states no part
    assert len(opened.deliveries) == 32
    assert opened.remarks["image outside the categories, skipped"] == ["licence.png"]


def test_yolo_classes_from_a_list_and_by_number(tmp_path: Path) -> None:
    root = yolo(tmp_path / "listed")
    (root / "data.yaml").rename(root / "obj.yaml")
    put(root / "classes.txt", "scratch\ndent\n")
    assert labels(root)["images/val/val.png"] == ("defect", ("dent",), "validation")
    put(yolo(tmp_path / "numbered") / "data.yaml", "names: {0: scratch, 1: dent, 7: crack}\n")
    put(tmp_path / "numbered" / "labels" / "train" / "train.txt", "7 .5 .5 .1 .1\n")
    assert labels(tmp_path / "numbered")["images/train/train.png"] == ("defect", ("crack",), "train")


def turned(format: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    sink = io.BytesIO()
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(sink, format=format, exif=exif)
    return sink.getvalue()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_boxes_of_a_photo_on_its_side_are_on_the_upright_image(format: str, tmp_path: Path) -> None:
    facts = codec.facts(turned(format))
    assert (facts.width_px, facts.height_px) == (40, 60)
    put(tmp_path / "yolo" / "images" / f"a.{format.lower()}", turned(format))
    put(tmp_path / "yolo" / "labels" / "a.txt", "0 0.5 0.5 1 0.5\n")
    put(tmp_path / "yolo" / "data.yaml", "names: [scratch]\n")
    _, opened = formats.read(str(tmp_path / "yolo"), SHARES)
    assert [(box.width, box.height) for box in opened.deliveries[0].boxes or ()] == [(40, 30)]


def test_an_image_that_can_not_be_read_comes_in_with_its_label(tmp_path: Path) -> None:
    root = yolo(tmp_path / "yolo")
    put(root / "images" / "train" / "train.png", b"no image")
    found = {item.name: item for item in formats.read(str(root), SHARES)[1].deliveries}["images/train/train.png"]
    assert (found.label, found.boxes) == ("defect", None)


def test_coco_in_a_folder_with_compressed_runs_crowds_and_no_boxes(tmp_path: Path) -> None:
    path = coco(tmp_path / "coco")
    content = json.loads(path.read_text())
    content["categories"].append({"id": 4, "name": "dent", "supercategory": "shape"})
    content["images"][0] |= {"width": 64, "height": 64}
    content["images"][1] |= {"width": 640, "height": 640}
    runs = {"size": [64, 64], "counts": "R42lk3"}  # 130 without, 2 with, 3964 without: the first rows of column 2
    content["annotations"][0] |= {"iscrowd": 1}
    content["annotations"] += [{"id": 3, "image_id": 1, "category_id": 4, "segmentation": runs}]
    put(path, json.dumps(content))
    chosen, opened = formats.read(str(tmp_path / "coco"), SHARES)
    first = opened.deliveries[0]
    assert chosen is Format.COCO
    assert first.defect_types == ("scratch", "dent")
    assert first.mask is not None
    filled = codec.decode(first.mask())[..., 0] > 0
    assert [(box.x, box.y, box.width, box.height) for box in first.boxes or ()][1] == (2, 2, 1, 2)
    assert filled[2:4, 2].all()
    assert filled.sum() == 2 + 4 * 5  # and the polygon, from 10 to 14 and from 20 to 25, as COCO counts
    assert opened.remarks == {
        "crowd annotation, read as an ordinary annotation": ["annotation 1"],
        "image size differs from the size in the file, so boxes may be misplaced": ["b.png"],
    }


def test_a_manifest_says_everything_that_the_table_holds(empty_workspace: Workspace, tmp_path: Path) -> None:
    put(tmp_path / "m" / "a.png", picture(1, defective=True))
    put(tmp_path / "m" / "a-mask.png", mask(1, 2, 3, 4))
    boxes = [{"x": 1, "y": 2, "width": 3.5, "height": 4, "defect_type": "scratch"}]
    values = {
        "path": "a.png",
        "label": "defect",
        "part": "serial 7",
        "slice": "matt; fine",
        "split": "val",
        "defect_types": "scratch; dent",
        "defect_probability": "0.75",
        "mask": "a-mask.png",
        "boxes": json.dumps(boxes),
        "labelled_by": "Jörg, lab",
        "labelled_at": "2026-01-02",
        "licence": "ours",
        "synthetic": "false",
    }
    with (tmp_path / "m" / "m.csv").open("w", newline="", encoding="utf-8-sig") as sink:
        csv.writer(sink, delimiter=";").writerows([list(values), list(values.values())])
    row = rows(empty_workspace, tmp_path / "m" / "m.csv")["a.png"]
    assert row["boxes"] == boxes
    assert (row["defect_types"], row["split"], row["defect_probability"]) == (["scratch", "dent"], "validation", 0.75)
    for name in ("part", "slice", "label", "labelled_by", "labelled_at", "licence"):
        assert row[name] == values[name]
    assert pixels(empty_workspace, row).astype(bool).sum() == 12
