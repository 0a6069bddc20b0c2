"""Every format, small and generated: recognised, read whole, and refused with file and line when it is broken."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import annotation_table, images
from models.errors import BadData, BadInput
from models.params import SplitShares
from pipelines.ingest import formats
from pipelines.ingest.formats import Format
from pipelines.ingest.ingest import ingest
from pipelines.workspace import Workspace
from tests.conftest import picture

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
    return images.encode_png(pixels)


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
    return images.read(place.data / row["mask"])[..., 0]


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


def broken_voc(root: Path) -> Path:
    put(voc(root) / "ANNOTATIONS" / "a.xml", "<annotation>\n<object>\n</annotation>")
    return root


def broken_yolo(root: Path) -> Path:
    put(yolo(root) / "labels" / "train" / "train.txt", "0 0.5 0.5 0.25 0.125\n7 0.5 0.5 0.1 0.1\n")
    return root


def broken_coco(root: Path) -> Path:
    return put(root / "notes.json", '{"images": [],\n "categories": [}')


def absent_coco(root: Path) -> Path:
    path = coco(root)
    (root / "images" / "b.png").unlink()
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (broken_voc, "a.xml, line 3"),
        (broken_yolo, "train.txt, line 2: '7 0.5 0.5 0.1 0.1'"),
        (broken_coco, "notes.json, line 2"),
        (absent_coco, "image b.png does not exist"),
        (lambda root: put(root / "x.zip", b"PK"), "is an archive"),
        (lambda root: root / "nowhere", "is no folder"),
    ],
)
def test_broken_input_is_named_with_its_file_and_line(
    make, says: str, empty_workspace: Workspace, tmp_path: Path
) -> None:
    with pytest.raises(BadData) as caught:
        ingest(empty_workspace, str(make(tmp_path / "delivery")))
    assert says in caught.value.message
    assert caught.value.next_step
    assert not empty_workspace.annotations.exists()


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
    assert "coco: 3 images of 3 parts, 3 labelled, 2 masks, 2 boxes; 2 scratch" in done.stdout
    assert not empty_workspace.annotations.exists()


@pytest.mark.skipif(not REAL.exists(), reason="the real data sets are not here")
@pytest.mark.parametrize(
    ("name", "format", "images_", "masks_", "boxes_"),
    [
        ("mvtec_bottle_256/bottle", Format.MVTEC, 292, 63, 0),
        ("magnetic_tile", Format.MASKS, 1345, 1345, 0),
        ("neu_det", Format.VOC, 1800, 0, 4189),
        ("x_sdd/X-SDD/datas", Format.FOLDER, 1360, 0, 0),
    ],
)
def test_real_data_sets_are_recognised(name: str, format: Format, images_: int, masks_: int, boxes_: int) -> None:
    chosen, source = formats.read(str(REAL / name), SHARES)
    found = formats.count(chosen, source)
    assert (found.format, found.images, found.masks, found.boxes) == (format, images_, masks_, boxes_)


def test_coco_masks_are_read_from_compressed_run_lengths(empty_workspace: Workspace, tmp_path: Path) -> None:
    from pycocotools import mask as coco_mask

    pixels = np.asfortranarray(images.decode(mask(5, 6, 7, 8))[..., 0] > 0)
    packed = coco_mask.encode(pixels.astype(np.uint8, order="F"))
    shape = {"size": packed["size"], "counts": packed["counts"].decode()}
    put(tmp_path / "c" / "a.png", picture(1, defective=True))
    note = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "dent"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 6, 7, 8], "segmentation": shape}],
    }
    row = rows(empty_workspace, put(tmp_path / "c" / "notes.json", json.dumps(note)))["a.png"]
    assert np.array_equal(images.read(empty_workspace.data / row["mask"])[..., 0] > 0, pixels)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ({"size": [64, 64], "counts": [1, 2, 3]}, "run lengths sum to 6, not 4096"),
        ({"size": [32, 32], "counts": [0, 1024]}, "a mask of 32×32 px for an image of 64×64"),
        ([[1, 2, 3, 4]], "a polygon of 2 points"),
        ([[1, 2, 3, 4, 5]], "notes.json, image a.png"),
    ],
)
def test_a_broken_coco_mask_is_kept_with_its_reason(
    shape: object, says: str, empty_workspace: Workspace, tmp_path: Path
) -> None:
    put(tmp_path / "c" / "a.png", picture(1, defective=True))
    note = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "dent"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 6, 7, 8], "segmentation": shape}],
    }
    row = rows(empty_workspace, put(tmp_path / "c" / "notes.json", json.dumps(note)))["a.png"]
    assert says in row["decode_error"]


def test_an_image_without_a_mask_is_not_lost_and_a_mask_without_an_image_is_named(
    empty_workspace: Workspace, tmp_path: Path
) -> None:
    root = same_stem(tmp_path / "tiles")
    for number in range(20):
        put(root / "MT_Free" / "Imgs" / f"more{number}.jpg", jpeg(300 + number, defective=False))
        put(root / "MT_Free" / "Imgs" / f"more{number}.png", mask())
    put(root / "MT_Free" / "Imgs" / "bare.jpg", jpeg(400, defective=False))
    assert rows(empty_workspace, root)["MT_Free/Imgs/bare.jpg"]["mask"] is None
    put(root / "MT_Free" / "Imgs" / "lost.png", mask())
    with pytest.raises(BadData, match=r"1 PNG files have no image .*lost\.png"):
        ingest(empty_workspace, str(root))
