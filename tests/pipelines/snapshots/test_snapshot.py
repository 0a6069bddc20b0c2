from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models.errors import NotReady, Unreachable
from pipelines.adapters import dataset_versions, git
from pipelines.ingest import ingest
from pipelines.snapshots import snapshot
from pipelines.validation.validate import validate
from pipelines.workspace import Workspace
from tests.conftest import write_parts


def test_same_data_is_the_same_snapshot(validated: Workspace) -> None:
    first, second = snapshot.snapshot(validated), snapshot.snapshot(validated)
    assert first.created
    assert not second.created
    assert (first.tag, first.data_hash, first.git_commit) == (second.tag, second.data_hash, second.git_commit)


def test_a_snapshot_can_be_brought_back_from_the_remote_alone(snapped: Workspace, tmp_path: Path) -> None:
    kept = snapped.annotations.read_bytes()
    shutil.rmtree(snapped.data)
    shutil.rmtree(snapped.root / ".dvc" / "cache")
    dataset_versions.checkout_data(snapped.root)
    assert snapped.annotations.read_bytes() == kept


def test_a_snapshot_costs_what_is_new(snapped: Workspace, tmp_path: Path) -> None:
    before = {path for path in Path(snapped.remote_url).rglob("*") if path.is_file()}
    ingest.ingest(snapped, str(write_parts(tmp_path / "more", 3, first=300)))
    validate(snapped)
    taken = snapshot.snapshot(snapped)
    after = {path for path in Path(snapped.remote_url).rglob("*") if path.is_file()}
    assert taken.number == 2
    assert len(after - before) == 3 + 2  # three images, the table, the listing


def test_what_killed_writers_left_in_data_is_no_part_of_a_snapshot(validated: Workspace) -> None:
    first = snapshot.snapshot(validated)
    (validated.data / "masks" / "ab").mkdir(parents=True)
    for name in (".annotations.parquet.17.140.partial", "masks/ab/.abcd.png.17.140.partial"):
        (validated.data / name).write_bytes(b"hal")
    assert snapshot.snapshot(validated).data_hash == first.data_hash


def test_the_tag_tells_hash_and_commit(validated: Workspace) -> None:
    taken = snapshot.snapshot(validated)
    assert git.run(validated.root, "rev-list", "-n", "1", taken.tag) == taken.git_commit
    assert snapshot.by_hash(validated, taken.data_hash).tag == taken.tag


def test_a_remote_that_does_not_answer_is_named_and_the_snapshot_goes_on_later(validated: Workspace) -> None:
    remote = Path(validated.remote_url)
    remote.parent.mkdir(parents=True, exist_ok=True)
    remote.write_text("not a directory")
    with pytest.raises(Unreachable, match="remote"):
        snapshot.snapshot(validated)
    remote.unlink()
    taken = snapshot.snapshot(validated)
    assert taken.number == 1
    assert remote.is_dir()


def test_the_remote_is_found_after_the_workspace_moved(snapped: Workspace, tmp_path: Path) -> None:
    from pipelines import workspace as workspaces

    moved = workspaces.at(snapped.root.rename(tmp_path / "elsewhere"))
    shutil.rmtree(moved.data)
    shutil.rmtree(moved.root / ".dvc" / "cache")
    dataset_versions.checkout_data(moved.root)
    assert moved.annotations.exists()


def test_a_snapshot_waits_until_a_merge_is_finished(validated: Workspace) -> None:
    note, root = validated.root / "note.txt", validated.root
    for branch in ("main", "other"):
        git.run(root, "checkout", "--quiet", *(["-b", "other", "HEAD~1"] if branch == "other" else ["main"]))
        note.write_text(branch)
        git.commit(root, ["note.txt"], f"Written on {branch}")
    git.run(root, "merge", "main", check=False)
    conflict = git.run(root, "status", "--porcelain", "note.txt")
    assert conflict.startswith("AA")
    with pytest.raises(NotReady, match="merge is unfinished") as caught:
        snapshot.snapshot(validated)
    assert "git merge --abort" in caught.value.next_step
    assert git.run(root, "status", "--porcelain", "note.txt") == conflict
    git.run(root, "merge", "--abort")
    assert snapshot.snapshot(validated).created
