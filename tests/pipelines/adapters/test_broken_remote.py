"""A remote that fails half way: nothing is lost, nothing goes twice, and the next call goes on."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo

from models.errors import DefectloopError, NotReady, Unreachable
from pipelines import workspace as workspaces
from pipelines.adapters import dataset_delta, dataset_versions
from pipelines.ingest import ingest
from pipelines.snapshots import history, snapshot
from pipelines.validation import validate
from pipelines.workspace import Workspace
from tests.conftest import stocked_workspace, write_parts
from tests.pipelines.failing_proxy import FailingProxy


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def n_objects(place: Workspace, data_hash: str) -> int:
    """Objects of a snapshot, its listing included."""
    with Repo(str(place.root)) as repo:
        return len(set(dataset_delta.listing(repo.cache.local, data_hash).values())) + 1


@pytest.fixture
def proxy(bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingProxy]:
    proxy = FailingProxy(s3_endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    yield proxy
    proxy.close()


@pytest.fixture
def far(bucket: str, proxy: FailingProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A validated workspace whose remote lies behind the proxy; nothing is snapshot yet."""
    monkeypatch.setenv("DEFECTLOOP_REMOTE", f"{bucket}/{tmp_path.name}")
    place = stocked_workspace(tmp_path)
    with Repo(str(place.root)) as repo, repo.config.edit("repo") as config:
        config["remote"]["storage"] |= {"read_timeout": "4"}  # so that the test need not wait for 20 s
    validate.validate(place)
    return place


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["drop", "error", "hang"])
def test_a_push_that_breaks_half_way_goes_on_where_it_stopped(far: Workspace, proxy: FailingProxy, mode: str) -> None:
    proxy.fail("PUT", mode, after=20)
    started = time.monotonic()
    with pytest.raises(Unreachable, match="of 61 objects were copied") as error:
        snapshot.snapshot(far)
    assert time.monotonic() - started < 30
    assert "next `defectloop snapshot` continues" in error.value.next_step
    taken = snapshot.snapshots(far)
    assert [found.tag for found in taken] == ["data/widgets/1"]
    there = set(proxy.passed)
    assert len(there) == 20
    proxy.heal("PUT")
    again = snapshot.snapshot(far)
    assert (again.tag, again.data_hash) == (taken[0].tag, taken[0].data_hash)
    assert len(proxy.passed) == n_objects(far, again.data_hash) - 20
    assert not there & set(proxy.passed)
    proxy.heal("PUT")
    snapshot.snapshot(far)
    assert proxy.passed == []


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["drop", "error", "hang"])
def test_a_pull_that_breaks_half_way_leaves_the_data_alone_and_goes_on(
    far: Workspace, proxy: FailingProxy, tmp_path: Path, mode: str
) -> None:
    first = snapshot.snapshot(far)
    wanted = contents(far.data)
    ingest.ingest(far, str(write_parts(tmp_path / "more", 3, first=300)))
    validate.validate(far)
    snapshot.snapshot(far)
    shutil.rmtree(far.root / ".dvc" / "cache")
    present, pointer = contents(far.data), (far.root / "data.dvc").read_bytes()
    dataset_versions.add_data(far.root)  # the present version alone is on this machine
    with Repo(str(far.root)) as repo:
        cache = repo.cache.local
        for oid in set(dataset_delta.objects(cache)) - {dataset_versions.pointer_hash(far.root / "data.dvc")}:
            Path(cache.oid_to_path(oid)).unlink()
    proxy.fail("GET", mode, after=20)
    started = time.monotonic()
    with pytest.raises(Unreachable, match="goes on where it stopped"):
        dataset_versions.fetch_data(far.root, first.data_hash)
    assert time.monotonic() - started < 30
    assert contents(far.data) == present
    assert (far.root / "data.dvc").read_bytes() == pointer
    there = set(proxy.passed)
    proxy.heal("GET")
    history.restore(far, "1")
    assert contents(far.data) == wanted
    assert not there & set(proxy.passed)


@pytest.mark.slow
def test_a_snapshot_asks_a_remote_about_what_is_new_alone(far: Workspace, proxy: FailingProxy, tmp_path: Path) -> None:
    snapshot.snapshot(far)
    ingest.ingest(far, str(write_parts(tmp_path / "more", 3, first=300)))
    validate.validate(far)
    proxy.heal("HEAD")
    snapshot.snapshot(far)
    assert len(proxy.passed) <= 2 * 4 + 2  # three images, the table; two listings


class Disk:
    """`dvc_objects` copies through this: below `folder` there is room for so many files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        from dvc_objects.fs import local

        self.copy, self.folder, self.copied, self.room = local.copyfile, str(folder), [], 10
        monkeypatch.setattr(local, "copyfile", self)

    def __call__(self, source: str, target: str, **options: object) -> None:
        if target.startswith(self.folder):
            if len(self.copied) >= self.room:
                raise OSError(errno.ENOSPC, "No space left on device", target)
            self.copied.append(source)
        self.copy(source, target, **options)


def test_a_full_disk_under_the_remote_is_named_and_the_push_goes_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate.validate(workspace)
    disk = Disk(monkeypatch, Path(workspace.remote_url))
    with pytest.raises(Unreachable, match="No space left on device"):
        snapshot.snapshot(workspace)
    assert len(contents(Path(workspace.remote_url))) == 10
    disk.room = 1000
    taken = snapshot.snapshot(workspace)
    assert taken.number == 1
    assert len(disk.copied) == len(set(disk.copied)) == n_objects(workspace, taken.data_hash)


def test_a_full_disk_under_the_cache_is_named_and_the_snapshot_goes_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate.validate(workspace)
    disk = Disk(monkeypatch, workspace.root / ".dvc" / "cache")
    with pytest.raises(DefectloopError, match="No space left on device"):
        snapshot.snapshot(workspace)
    assert snapshot.snapshots(workspace) == []
    disk.room = 1000
    assert snapshot.snapshot(workspace).n_images == 60


def test_a_remote_that_takes_no_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFECTLOOP_REMOTE", "/proc/nothing-can-be-written-here")
    place = stocked_workspace(tmp_path, 45)
    validate.validate(place)
    with pytest.raises(Unreachable, match="nothing-can-be-written-here"):
        snapshot.snapshot(place)
    assert len(snapshot.snapshots(place)) == 1


def test_an_object_that_comes_damaged_is_not_kept(workspace: Workspace) -> None:
    validate.validate(workspace)
    taken = snapshot.snapshot(workspace)
    with Repo(str(workspace.root)) as repo:
        image = dataset_delta.listing(repo.cache.local, taken.data_hash)["annotations.parquet"]
    remote = Path(workspace.remote_url) / "files" / "md5"
    damaged = remote / image[:2] / image[2:]
    whole = damaged.read_bytes()
    damaged.chmod(0o644)
    damaged.write_bytes(whole[:-10])
    shutil.rmtree(workspace.root / ".dvc" / "cache")
    present = contents(workspace.data)
    with pytest.raises(Unreachable, match=f"object {image} came damaged"):
        dataset_versions.checkout_data(workspace.root)
    assert contents(workspace.data) == present
    damaged.write_bytes(whole)
    dataset_versions.checkout_data(workspace.root)
    assert contents(workspace.data) == present


def test_a_restore_that_is_killed_is_noticed_and_finished(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate.validate(workspace)
    snapshot.snapshot(workspace)
    wanted = contents(workspace.data)
    ingest.ingest(workspace, str(write_parts(tmp_path / "more", 3, first=300)))
    validate.validate(workspace)
    snapshot.snapshot(workspace)
    checkout = Repo.checkout

    def killed(self: Repo, *arguments: object, **options: object) -> None:
        checkout(self, *arguments, **options)
        next((workspace.data / "images").glob("*/*")).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(Repo, "checkout", killed)
    with pytest.raises(KeyboardInterrupt):
        history.restore(workspace, "1")
    monkeypatch.setattr(Repo, "checkout", checkout)
    with pytest.raises(NotReady, match="was interrupted") as error:
        dataset_versions.add_data(workspace.root)
    assert "defectloop snapshots restore" in error.value.next_step
    history.restore(workspaces.at(workspace.root), "1")
    assert contents(workspace.data) == wanted
    dataset_versions.add_data(workspace.root)
