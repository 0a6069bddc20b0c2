"""git as commands use it: what a killed one leaves behind stops nobody, and nobody has to tell it a name first."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from models.errors import DefectloopError
from pipelines.adapters import git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git.run(tmp_path, "init", "--quiet", "--initial-branch", "main")
    (tmp_path / "a").write_text("1")
    git.commit(tmp_path, ["a"], "First")
    (tmp_path / "a").write_text("2")
    return tmp_path


@pytest.mark.parametrize("lock", ["index.lock", "HEAD.lock", "refs/heads/main.lock"])
def test_a_commit_goes_on_where_a_killed_git_left_its_lock(repository: Path, lock: str) -> None:
    (repository / ".git" / lock).write_bytes(b"")
    before = git.head(repository)
    assert git.commit(repository, ["a"], "Second") != before
    assert not (repository / ".git" / lock).exists()


def test_a_config_goes_on_where_a_killed_git_left_its_lock(repository: Path) -> None:
    (repository / ".git" / "config.lock").write_bytes(b"")
    git.run(repository, "config", "user.name", "Somebody")
    assert git.run(repository, "config", "user.name") == "Somebody"


def test_a_lock_that_a_running_git_holds_stays(repository: Path) -> None:
    names = {"user.name": "Somebody", "user.email": "somebody@localhost"}
    options = [word for name, value in names.items() for word in ("-c", f"{name}={value}")]
    writing = subprocess.Popen(
        ["git", *options, "commit", "--all"],
        cwd=repository,
        env=os.environ | {"GIT_EDITOR": "sleep 60 #"},
        start_new_session=True,
    )
    try:
        lock = repository / ".git" / "index.lock"
        while not lock.exists():
            time.sleep(0.01)
        with pytest.raises(DefectloopError, match=r"index\.lock") as refused:
            git.commit(repository, ["a"], "Second")
        assert "wait" in refused.value.next_step
        assert lock.exists()
    finally:
        os.killpg(writing.pid, signal.SIGKILL)
        writing.wait()


def test_a_lock_that_another_program_has_open_stays(repository: Path) -> None:
    lock = repository / ".git" / "index.lock"
    lock.write_bytes(b"")
    holding = subprocess.Popen(["sleep", "60"], stdin=lock.open())
    try:
        with pytest.raises(DefectloopError, match=r"index\.lock"):
            git.commit(repository, ["a"], "Second")
    finally:
        holding.kill()
        holding.wait()


def test_a_file_of_the_working_tree_that_ends_in_lock_stays(repository: Path) -> None:
    (repository / ".git" / "index.lock").write_bytes(b"")
    (repository / "uv.lock").write_text("mine")
    git.commit(repository, ["uv.lock"], "A lock file of another kind")
    assert (repository / "uv.lock").read_text() == "mine"


def test_a_merge_needs_no_name_of_the_person(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git.run(repository, "config", "user.useConfigOnly", "true")
    git.run(repository, "checkout", "--quiet", "-b", "theirs")
    theirs = git.commit(repository, ["a"], "Theirs")
    git.run(repository, "checkout", "--quiet", "main")
    git.merge(repository, "--no-ff", "--no-commit", theirs)
    git.conclude_merge(repository, "Both")
    assert git.is_ancestor(repository, theirs, "HEAD")
