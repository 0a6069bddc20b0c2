"""Altered image bytes are never sealed in a snapshot and never learned from; the originals come back."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from models.dataset import annotation_table
from models.errors import BadData, BadInput
from models.images import codec
from pipelines import workspace as workspaces
from pipelines.adapters import dataset_versions, git
from pipelines.image_files import file_hashes, originals
from pipelines.ingest import ingest
from pipelines.ingest.formats import Format
from pipelines.snapshots import snapshot
from pipelines.validation.validate import validate
from pipelines.workspace import Workspace
from tests.conftest import stocked_workspace, write_parts


def an_image(place: Workspace) -> Path:
    return sorted((place.data / "images").rglob("*.png"))[0]


def alter(path: Path) -> bytes:
    """Turn one bit in place: same size, same inode, a file that still decodes or does not."""
    original = path.read_bytes()
    os.chmod(path, 0o644)
    with path.open("r+b") as file:
        file.seek(len(original) // 2)
        file.write(bytes([original[len(original) // 2] ^ 1]))
    return original


def swap_pictures(first: Path, second: Path) -> None:
    """Two sound files under each other's names."""
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


@pytest.fixture(scope="module")
def sealed_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = stocked_workspace(tmp_path_factory.mktemp("sealed"))
    validate(place)
    snapshot.snapshot(place)
    return place.root


@pytest.fixture
def sealed(sealed_root: Path, tmp_path: Path) -> Workspace:
    """60 parts, validated and with a snapshot."""
    shutil.copytree(sealed_root, tmp_path / "sealed")
    return workspaces.at(tmp_path / "sealed")


def test_validate_and_snapshot_refuse_altered_bytes_and_name_the_file(sealed: Workspace) -> None:
    altered = an_image(sealed)
    alter(altered)
    for command in (snapshot.snapshot, validate):
        with pytest.raises(BadData, match=altered.name) as caught:
            command(sealed)
        assert "stock/" in caught.value.message  # the name that it was ingested under
        assert "audit --hashes --repair" in caught.value.next_step


def test_bytes_altered_while_dvc_adds_them_are_not_sealed(sealed: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    add = dataset_versions.add_data

    def add_and_be_altered(root: Path) -> str:
        alter(an_image(sealed))
        return add(root)

    monkeypatch.setattr(dataset_versions, "add_data", add_and_be_altered)
    with pytest.raises(BadData, match="altered after ingest"):
        snapshot.snapshot(sealed)
    assert len(snapshot.snapshots(sealed)) == 1


def test_sound_files_under_each_others_names_are_noticed(sealed: Workspace) -> None:
    file_hashes.check(sealed)
    first, second, *_ = sorted((sealed.data / "images").rglob("*.png"))
    swap_pictures(first, second)
    assert len(file_hashes.check(sealed).altered) == 2


def test_a_stage_does_not_learn_from_altered_bytes(sealed: Workspace) -> None:
    alter(an_image(sealed))
    with pytest.raises(BadInput, match="altered after ingest"):
        dataset_versions.run_stage(sealed, "train")


def test_masks_are_checked_too(empty_workspace: Workspace, tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "stock", 6)
    for picture in (folder / "scratch").glob("*.png"):
        mask = np.zeros((64, 64), np.uint8)
        mask[10:20, 10:20] = 255
        picture.with_name(f"{picture.stem}_mask.png").write_bytes(codec.encode_png(mask))
    ingest.ingest(empty_workspace, str(folder), format=Format.MASKS)
    mask_file = next((empty_workspace.data / "masks").rglob("*.png"))
    alter(mask_file)
    found = file_hashes.check(empty_workspace)
    assert [Path(name).name for name in found.altered] == [mask_file.name]


def test_what_was_read_once_is_not_read_again(sealed: Workspace) -> None:
    os.utime(an_image(sealed))
    file_hashes.check(sealed)
    assert file_hashes.check(sealed).hashed <= 1  # one within the clock's tick may be read again
    assert file_hashes.check(sealed, every_file=True).hashed == 60


def test_a_time_set_back_is_noticed_when_everything_is_read(sealed: Workspace) -> None:
    file_hashes.check(sealed)
    picture = an_image(sealed)
    before = picture.stat()
    alter(picture)
    os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(file_hashes.check(sealed, every_file=True).altered) == 1
    with pytest.raises(BadData):  # and stays known
        file_hashes.require(sealed)


def test_originals_come_back_from_the_cache(sealed: Workspace) -> None:
    taken = snapshot.snapshots(sealed)[0]
    picture = an_image(sealed)
    whole = picture.read_bytes()
    picture.unlink()  # a link to the cache; the cache's own file stays whole
    picture.write_bytes(whole[::-1])
    report = originals.repair(sealed)
    assert picture.read_bytes() == whole
    assert report.repaired == (picture.relative_to(sealed.data).as_posix(),)
    assert snapshot.snapshot(sealed).data_hash == taken.data_hash


def test_originals_come_back_from_the_remote_when_the_cache_was_altered_with_them(sealed: Workspace) -> None:
    taken = snapshot.snapshots(sealed)[0]
    picture = an_image(sealed)
    whole = alter(picture)
    md5 = dataset_versions.listed(sealed.root, taken.data_hash)[picture.relative_to(sealed.data).as_posix()]
    cached = sealed.root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    os.chmod(cached, 0o644)
    cached.write_bytes(picture.read_bytes())
    assert originals.repair(sealed).lost == ()
    assert picture.read_bytes() == whole
    assert cached.read_bytes() == whole


def test_what_no_snapshot_holds_is_named_and_comes_back_by_ingesting_again(sealed: Workspace, tmp_path: Path) -> None:
    git.run(sealed.root, "tag", "--delete", "data/widgets/1")
    first, second, *_ = sorted((sealed.data / "images").rglob("*.png"))
    whole = alter(first)
    second.unlink()
    assert set(originals.repair(sealed).lost) == {path.relative_to(sealed.data).as_posix() for path in (first, second)}
    ingest.ingest(sealed, str(write_parts(tmp_path / "stock", 60)), slice="matt")
    assert first.read_bytes() == whole
    assert file_hashes.check(sealed).altered == file_hashes.check(sealed).missing == ()


def test_audit_hashes_reads_every_file_and_repairs(sealed: Workspace, in_process) -> None:
    sound = json.loads(in_process("audit", "--hashes", "--json", "-w", sealed.root).stdout)
    assert (sound["checked"], sound["hashed"], sound["altered"]) == (60, 60, [])
    alter(an_image(sealed))
    refused = in_process("audit", "--hashes", "-w", sealed.root)
    assert refused.returncode == 2
    assert an_image(sealed).name in refused.stderr
    repaired = in_process("audit", "--hashes", "--repair", "-w", sealed.root)
    assert repaired.returncode == 0, repaired.stderr
    assert "1 restored" in repaired.stdout


def test_annotations_name_files_by_their_hash(sealed: Workspace) -> None:
    names = parquet.read_table(sealed.annotations, columns=["file", "image"], schema=annotation_table.SCHEMA)
    assert all(Path(file).stem == image for file, image in zip(*names.to_pydict().values(), strict=True))
