"""The short way to a dataset version ends where DVC's own way ends, whatever happened to the files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db import HashFileDB
from dvc_objects.fs.local import localfs

from models.errors import Unreachable
from pipelines.adapters import dataset_delta, dataset_remote, dataset_versions, git
from pipelines.adapters.dataset_versions import add_data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository whose data DVC has seen once."""
    git.run(tmp_path, "init", "--quiet")
    dataset_versions.initialise(tmp_path, str(tmp_path / "remote"))
    for number in range(40):
        write(tmp_path / "data" / "images" / f"{number % 7:02x}" / f"{number}.png", b"pixels %d" % number)
    write(tmp_path / "data" / "annotations.parquet", b"table")
    add_data(tmp_path)
    return tmp_path


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def rewritten_in_place(data: Path) -> None:
    """Same size, same inode, same name: only its time tells."""
    path = data / "images" / "03" / "3.png"
    path.chmod(0o644)
    path.write_bytes(b"PIXELS 3")


CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda data: None,
    "files added": lambda data: [write(data / "images" / "aa" / f"{n}.png", b"new %d" % n) for n in range(5)],
    "a file removed": lambda data: (data / "images" / "01" / "1.png").unlink(),
    "a folder removed": lambda data: shutil.rmtree(data / "images" / "02"),
    "a file replaced by one of its size": lambda data: write(data / "images" / "03" / "3.png", b"PIXELS 3"),
    "a file rewritten in place": rewritten_in_place,
    "a file renamed": lambda data: (data / "images" / "04" / "4.png").rename(data / "images" / "04" / "four.png"),
    "two files swapped": lambda data: (
        (data / "a").write_bytes((data / "images" / "05" / "5.png").read_bytes()),
        (data / "images" / "06" / "6.png").replace(data / "images" / "05" / "5.png"),
        (data / "a").rename(data / "images" / "06" / "6.png"),
    ),
    "only its time changed": lambda data: os.utime(data / "images" / "00" / "0.png", (1, 1)),
    "the same bytes twice": lambda data: [write(data / name, b"twin") for name in ("one.png", "two.png")],
    "names beyond ASCII": lambda data: write(data / "Gehäuse 1" / "Öse.png", b"pixels"),
    "an empty file": lambda data: write(data / "empty", b""),
    "the cache lost an object": lambda data: dvc_object(data.parent, "images/01/1.png").unlink(),
    "the cache is gone": lambda data: shutil.rmtree(data.parent / ".dvc" / "cache"),
    "what was remembered is damaged": lambda data: (data.parent / ".dvc/tmp" / dataset_delta.INDEX).write_bytes(b"x"),
    "what was remembered is gone": lambda data: (data.parent / ".dvc/tmp" / dataset_delta.INDEX).unlink(),
    "DVC shall ignore something": lambda data: (data.parent / ".dvcignore").write_text("*3.png\n/data/images/05\n"),
    "a repository inside": lambda data: write(data / "tool" / ".git" / "config", b"x"),
    "a DVC repository inside": lambda data: [write(data / "sub" / name, b"x") for name in (".dvc/config", "a.png")],
    "a link": lambda data: (data / "link.png").symlink_to(data / "images" / "00" / "0.png"),
}


def dvc_object(root: Path, name: str) -> Path:
    with Repo(str(root)) as repo:
        cache = repo.cache.local
        md5 = dataset_delta.listing(cache, dataset_versions.pointer_hash(root / "data.dvc"))[name]
        return Path(cache.oid_to_path(md5))


def dvc_sees(repo: Repo, data: Path) -> dict:
    """What DVC would write into `data.dvc`, with nothing remembered from before."""
    forgetful = HashFileDB(localfs, str(data.parent / "nowhere"), hash_name="md5")
    _, meta, tree = build(forgetful, str(data), localfs, "md5", dry_run=True, ignore=repo.dvcignore)
    return {"md5": tree.hash_info.value, "size": meta.size, "nfiles": meta.nfiles, "hash": "md5", "path": "data"}


@pytest.mark.parametrize("change", CHANGES)
def test_it_makes_the_same_version_as_dvc(root: Path, change: str) -> None:
    CHANGES[change](root / "data")
    ours = add_data(root)
    assert add_data(root) == ours
    with Repo(str(root)) as repo:
        assert yaml.safe_load((root / "data.dvc").read_text()) == {"outs": [dvc_sees(repo, root / "data")]}
        assert repo.status(targets=[str(root / "data.dvc")]) == {}
        listed = dataset_delta.listing(repo.cache.local, ours)
        assert set(listed.values()) <= set(dataset_delta.objects(repo.cache.local))
        for name, md5 in listed.items():
            assert Path(repo.cache.local.oid_to_path(md5)).read_bytes() == (root / "data" / name).read_bytes()


def test_the_installed_dvc_is_one_that_the_short_way_was_tested_with() -> None:
    """After an upgrade: run this folder's tests and the benchmark of snapshots, then name the release in `TESTED`."""
    assert dataset_versions.is_tested()


@pytest.fixture
def another_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DVC without the object layer that we know."""
    monkeypatch.setattr(dataset_versions, "TESTED", {"dvc": "99.0"})
    for module in (dataset_delta, dataset_remote):
        for name in ("add", "push", "fetch", "fetch_object", "remember"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda *_: pytest.fail("DVC's object layer was used"))


@pytest.mark.parametrize("change", ["nothing", "files added", "a file rewritten in place", "the cache lost an object"])
def test_another_release_of_dvc_makes_the_same_version_by_its_own_way(
    root: Path, change: str, another_release: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    CHANGES[change](root / "data")
    by_dvc = add_data(root)
    assert dataset_versions.push_data(root) > 0
    content = {path: path.read_bytes() for path in (root / "data").rglob("*") if path.is_file()}
    shutil.rmtree(root / "data")
    shutil.rmtree(root / ".dvc" / "cache")
    assert dataset_versions.fetch_data(root, by_dvc) > 0
    dataset_versions.checkout_data(root)
    assert {path: path.read_bytes() for path in (root / "data").rglob("*") if path.is_file()} == content
    md5 = dataset_versions.listed(root, by_dvc)["annotations.parquet"]
    shutil.rmtree(root / ".dvc" / "cache")
    assert dataset_versions.original(root, md5) == b"table"
    monkeypatch.undo()
    assert add_data(root) == by_dvc


def test_another_release_of_dvc_says_what_the_remote_lacks(root: Path, another_release: None) -> None:
    data_hash = add_data(root)
    dataset_versions.push_data(root)
    shutil.rmtree(root / ".dvc" / "cache")
    shutil.rmtree(root / "remote")
    with pytest.raises(Unreachable, match=data_hash):
        dataset_versions.fetch_data(root, data_hash)


def test_another_release_of_dvc_does_not_push_what_the_cache_lost(root: Path, another_release: None) -> None:
    add_data(root)
    dvc_object(root, "images/01/1.png").unlink()
    with pytest.raises(Unreachable):
        dataset_versions.push_data(root)


def test_what_has_not_changed_is_not_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    md5 = dataset_delta._md5
    monkeypatch.setattr(dataset_delta, "_md5", lambda file: (read.append(Path(file).name), md5(file))[1])
    write(root / "data" / "images" / "aa" / "new.png", b"new")
    add_data(root)
    assert read == ["new.png"]


def test_an_ignored_file_stays_out_when_it_comes_later(root: Path) -> None:
    before = add_data(root)
    (root / ".dvcignore").write_text("*.tmp\n/data/scratch\n")
    add_data(root)
    write(root / "data" / "images" / "notes.tmp", b"x")
    write(root / "data" / "scratch" / "a.png", b"x")
    assert add_data(root) == before
