"""A file is written whole or not at all, and what a killed writer left can be told from files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models import files


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a" / "file"
    files.write_whole(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file"]


def test_the_name_of_a_file_and_of_its_new_folders_are_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    really = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda number: (synced.append(os.readlink(f"/proc/self/fd/{number}")), really(number))
    )
    files.write_whole(tmp_path / "a" / "b" / "file", b"1")
    assert [name.split("/.file.")[0] for name in synced] == [
        f"{tmp_path}/a/b",  # the file, under its first name
        f"{tmp_path}/a/b",
        f"{tmp_path}/a",
        f"{tmp_path}",
    ]
    synced.clear()
    files.write_whole(tmp_path / "a" / "b" / "other", b"1", durable=False)
    assert synced == []


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".file.17.140.partial").write_bytes(b"hal")
    for name in ("file", "file.partial", ".hidden"):
        (tmp_path / "a" / name).write_bytes(b"1")
    assert files.remove_partial(tmp_path) == 1
    assert sorted(os.listdir(tmp_path / "a")) == [".hidden", "file", "file.partial"]
