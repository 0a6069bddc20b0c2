"""Credentials in an address work, and appear in no file that is committed and on no screen."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from models.errors import Unreachable, masked
from pipelines.initialise import init
from tests.programs import Preloaded

SECRET = "hunter2"
NOBODY = "127.0.0.1:9"  # the discard port: refuses at once


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ann:hunter2@host:5000/x is down", "https://***@host:5000/x is down"),
        ("s3://key:hun@ter2@bucket/a and http://token@h", "s3://***@bucket/a and http://***@h"),
        ("mail ann@example.org or https://host/a@b", "mail ann@example.org or https://host/a@b"),
    ],
)
def test_no_error_shows_the_credentials_of_an_address(text: str, shown: str) -> None:
    error = Unreachable(text, next_step=f"Check {text}")
    assert (masked(text), str(error)) == (shown, f"{shown} Check {shown}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEFECTLOOP_REMOTE", f"https://ann:{SECRET}@{NOBODY}/dvc"),
        ("AWS_ENDPOINT_URL", f"http://ann:{SECRET}@{NOBODY}"),
    ],
)
def test_a_workspace_commits_no_credentials_and_still_uses_them(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.repo import Repo

    monkeypatch.setenv("DEFECTLOOP_REMOTE", "s3://factory/dvc")
    monkeypatch.setenv(name, value)
    place = init(tmp_path / "line", "widgets")
    history = subprocess.run(
        ["git", "log", "--all", "--patch"], cwd=place.root, capture_output=True, text=True, check=True
    ).stdout
    assert "[remote" in history or "['remote" in history
    assert SECRET not in history
    with Repo(str(place.root)) as repo:
        assert value in repo.config["remote"]["storage"].values()


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "PREFECT_API_URL"])
def test_a_server_that_does_not_answer_is_named_without_its_password(variable: str, tmp_path: Path, defectloop) -> None:
    place = init(tmp_path / "line", "widgets")
    command = "monitor" if variable.startswith("PREFECT") else "promote"
    arguments = [] if command == "monitor" else ["1"]
    done = defectloop(command, *arguments, cwd=place.root, **{variable: f"http://ann:{SECRET}@{NOBODY}/api"})
    assert done.returncode == 5
    assert SECRET not in done.stdout + done.stderr
    assert f"***@{NOBODY}" in done.stderr


BROKEN = """
import sys
from flows import cli
from pipelines.validation import validate

def broken(workspace):
    raise KeyError("https://ann:hunter2@host is no key")

validate.validate = broken
sys.argv = ["defectloop", "validate"]
cli.main()
"""


def test_an_unforeseen_error_is_one_sentence_and_a_file(tmp_path: Path, preloaded: Preloaded) -> None:
    place = init(tmp_path / "line", "widgets")
    folder = tmp_path / "temporary"
    folder.mkdir()
    done = preloaded.run("-c", BROKEN, cwd=place.root, TMPDIR=str(folder))
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 2
    kept = next(folder.glob("defectloop-*.log"))
    assert kept.name in done.stderr
    assert "Traceback" in kept.read_text()
    assert SECRET not in done.stderr + kept.read_text()
