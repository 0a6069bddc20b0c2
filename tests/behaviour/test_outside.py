"""Nothing outside a delivery's own folder is read, whatever names it: a table's column, a link, a path with `..`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from models.dataset import annotation_table
from models.errors import BadData
from pipelines.ingest import archives, formats
from pipelines.ingest.ingest import take_in
from pipelines.inspection.predict import replay_folder
from pipelines.workspace import Workspace
from tests.conftest import Command, picture
from tests.pipelines.ingest.test_formats import SHARES, coco, mask, mvtec, put, same_stem, voc, yolo

Maker = Callable[[Path, Path], Path]  # the delivery's folder and the file outside; returns what is ingested


def manifest(column: str, value: Callable[[Path], str]) -> Maker:
    def make(root: Path, outside: Path) -> Path:
        put(root / "a.png", picture(1, defective=True))
        row = {"path": "a.png", "mask": ""} | {column: value(outside)}
        return put(root / "m.csv", f"path,mask\n{row['path']},{row['mask']}\n")

    return make


def linked(make: Callable[[Path], Path], name: str) -> Maker:
    """A whole delivery in which one file is a link to the file outside."""

    def made(root: Path, outside: Path) -> Path:
        source = make(root)
        path = root / name
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(outside)
        return source

    return made


def coco_image(value: Callable[[Path], str]) -> Maker:
    def make(root: Path, outside: Path) -> Path:
        path = coco(root)
        content = json.loads(path.read_text())
        content["images"][1]["file_name"] = value(outside)
        return put(path, json.dumps(content))

    return make


def classes(root: Path) -> Path:
    for number in range(3):
        put(root / "good" / f"{number}.png", picture(number, defective=False))
    return root


def label_studio(root: Path) -> Path:
    put(root / "a.png", picture(1, defective=True))
    return put(root / "export.json", json.dumps([{"id": 5, "data": {"image": "a.png"}, "annotations": []}]))


def upwards(outside: Path) -> str:
    return f"../{outside.parent.name}/{outside.name}"


REFERENCES: dict[str, Maker] = {
    "manifest: absolute path": manifest("path", str),
    "manifest: path upwards": manifest("path", upwards),
    "manifest: mask": manifest("mask", str),
    "manifest: link": linked(lambda root: manifest("path", lambda _: "b.png")(root, root), "b.png"),
    "COCO: absolute path": coco_image(str),
    "COCO: path upwards": coco_image(lambda outside: f"../{upwards(outside)}"),
    "COCO: link": linked(coco, "images/b.png"),
    "COCO: the table is a link": linked(lambda root: coco(root).parent, "notes.json"),
    "folder: link": linked(classes, "good/9.png"),
    "MVTec: image": linked(mvtec, "train/good/000.png"),
    "MVTec: mask": linked(mvtec, "ground_truth/dent/000_mask.png"),
    "masks: mask": linked(same_stem, "MT_Crack/Imgs/exp0_num_7.png"),
    "VOC: image": linked(voc, "IMAGES/a.png"),
    "VOC: XML": linked(voc, "ANNOTATIONS/a.xml"),
    "YOLO: image": linked(yolo, "images/train/train.png"),
    "YOLO: label": linked(yolo, "labels/train/train.txt"),
    "YOLO: classes": linked(yolo, "data.yaml"),
    "Label Studio: link": linked(label_studio, "a.png"),
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return put(tmp_path / "private" / "secret.png", picture(77, defective=False))


@pytest.mark.parametrize("make", REFERENCES.values(), ids=REFERENCES)
def test_what_lies_outside_is_refused_by_name(make: Maker, outside: Path, tmp_path: Path) -> None:
    source = make(tmp_path / "delivery", outside)
    with pytest.raises(BadData) as caught:
        formats.read(str(source), SHARES)
    assert "outside the delivery's folder" in caught.value.message
    assert "secret.png" in caught.value.message
    assert "--allow-outside" in caught.value.next_step


ALLOWED = {name: make for name, make in REFERENCES.items() if name.split(": ")[1] in ("absolute path", "link", "mask")}


@pytest.mark.parametrize("make", ALLOWED.values(), ids=ALLOWED)
def test_a_person_may_allow_it_and_sees_the_absolute_paths(make: Maker, outside: Path, tmp_path: Path) -> None:
    source = make(tmp_path / "delivery", outside)
    chosen, opened = formats.read(str(source), SHARES, allow_outside=True)
    assert formats.count(chosen, opened).outside == (str(outside),)
    read = {item.read() for item in opened.deliveries} | {item.mask() for item in opened.deliveries if item.mask}
    assert outside.read_bytes() in read


def test_a_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    root = classes(tmp_path / "delivery")
    (root / "good" / "latest.png").symlink_to("0.png")
    (tmp_path / "link").symlink_to(root)
    _, opened = formats.read(str(tmp_path / "link"), SHARES)
    assert [item.name for item in opened.deliveries] == ["good/0.png", "good/1.png", "good/2.png", "good/latest.png"]
    assert opened.deliveries[0].read() == opened.deliveries[3].read()


def test_a_link_to_a_folder_is_named_and_not_followed(outside: Path, tmp_path: Path) -> None:
    root = classes(tmp_path / "delivery")
    (root / "scratch").symlink_to(outside.parent)
    chosen, opened = formats.read(str(root), SHARES)
    found = formats.count(chosen, opened)
    assert found.images == 3
    assert found.remarks["link to a folder, not followed"] == ["scratch"]


def test_a_file_swapped_for_a_link_after_the_listing_is_not_read(outside: Path, tmp_path: Path) -> None:
    root = classes(tmp_path / "delivery")
    _, opened = formats.read(str(root), SHARES)
    (root / "good" / "0.png").unlink()
    (root / "good" / "0.png").symlink_to(outside)
    with pytest.raises(BadData, match="outside the delivery's folder"):
        opened.deliveries[0].read()


def test_an_extracted_archive_is_a_folder_like_any_other(
    empty_workspace: Workspace, outside: Path, tmp_path: Path
) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as packed:
        packed.writestr("m.csv", f"path\n{outside}\n")
        packed.writestr("a.png", picture(1, defective=False))
    with (
        archives.extracted(empty_workspace, tmp_path / "photos.zip") as delivery,
        pytest.raises(BadData, match="outside the delivery's folder"),
    ):
        formats.read(str(delivery.path), SHARES)


def test_the_command_reads_nothing_outside_unless_it_is_told_to(
    empty_workspace: Workspace, outside: Path, tmp_path: Path, defectloop: Command
) -> None:
    source = REFERENCES["manifest: absolute path"](tmp_path / "delivery", outside)
    refused = defectloop("ingest", source, cwd=empty_workspace.root)
    assert refused.returncode == 2
    assert "--allow-outside" in refused.stderr
    assert not empty_workspace.annotations.exists()
    shown = defectloop("ingest", source, "--allow-outside", "--dry-run", cwd=empty_workspace.root)
    assert shown.returncode == 0
    assert str(outside) in shown.stdout
    assert not empty_workspace.annotations.exists()


def test_a_replay_reads_nothing_outside_its_folder_either(
    empty_workspace: Workspace, outside: Path, tmp_path: Path
) -> None:
    root = linked(classes, "good/9.png")(tmp_path / "night", outside)
    with pytest.raises(BadData, match="outside"):
        replay_folder(empty_workspace, root)


def test_a_mask_beside_a_linked_image_inside_is_taken(empty_workspace: Workspace, tmp_path: Path) -> None:
    """The folder of the image itself may hold a mask under a link: both lie inside."""
    root = tmp_path / "delivery"
    put(root / "all" / "a.png", picture(1, defective=True))
    put(root / "all" / "m.png", mask(5, 6, 7, 8))
    (root / "a.png").symlink_to("all/a.png")
    put(root / "m.csv", "path,label,mask\na.png,defect,all/m.png\n")
    _, opened = formats.read(str(root / "m.csv"), SHARES)
    assert take_in(empty_workspace, opened).added == 1
    assert annotation_table.load(empty_workspace.annotations)["mask"].to_pylist() != [None]
