"""A killed `init` is finished by the next one, and what it left is nobody's work."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import files
from pipelines.adapters import git
from pipelines.initialise import init


class Killed(BaseException):
    pass


def test_init_goes_on_where_writing_params_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "line"

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", killed)
        patched.setattr(Path, "unlink", lambda *_, **__: None)  # a killed process tidies nothing
        with pytest.raises(Killed):
            init(root, "widgets")
    assert [path.name.startswith(".params.yaml.") for path in root.iterdir()] == [True]
    place = init(root, "widgets")
    assert place.params().line == "widgets"
    assert git.run(root, "status", "--porcelain") == ""
