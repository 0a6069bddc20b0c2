"""A workspace that an older defectloop made goes on with this one. `tests/kept/make.py` says how an archive is made."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines import workspace as workspaces
from pipelines.adapters import dataset_versions, tracking
from tests.conftest import Command, change_params, write_parts

KEPT = sorted((Path(__file__).parents[1] / "kept").glob("*.tar.xz"))


@pytest.fixture(params=KEPT, ids=[path.name.split(".")[0] for path in KEPT])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    subprocess.run(["tar", "-C", tmp_path, "-xJf", request.param], check=True)
    return tmp_path / "workspace"


@pytest.mark.slow
def test_a_workspace_of_before_answers_inspects_and_measures_anew(
    kept: Path, tmp_path: Path, in_process: Command
) -> None:
    def run(*words: object) -> str:
        done = in_process(*words, "-w", kept)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert json.loads(run("status", "--json"))["champion"]["version"] == "1"
    assert [one["tag"] for one in json.loads(run("snapshots", "list", "--json"))] == ["data/widgets/1"]
    inspected = sorted((kept / "data").rglob("*.png"))[0]
    answer = json.loads(run("inspect", inspected).splitlines()[0])
    assert answer["model_version"] == "1"
    assert json.loads(run("trace", answer["part"], "--json"))["verdict"]["verdict"] == answer["verdict"]

    change_params(workspaces.at(kept), {"evaluate": {"bootstrap": 120}})  # its own dvc.yaml calls the stages
    dataset_versions.run_stage(workspaces.at(kept), "evaluate")
    assert "auroc" in (kept / "artifacts" / "evaluate" / "metrics.json").read_text()

    run("ingest", write_parts(tmp_path / "more", 6, first=500), "--slice", "matt")
    run("validate")
    run("snapshot")
    assert len(json.loads(run("snapshots", "list", "--json"))) == 2


@pytest.mark.slow
def test_a_moved_workspace_registers_promotes_and_rolls_back(
    champion_root: Path, tmp_path: Path, in_process: Command
) -> None:
    """MLflow keeps absolute paths; the place they name is gone."""
    before = shutil.copytree(champion_root, tmp_path / "before")
    tracking.client(workspaces.at(before))  # now the registry's paths are those of this copy
    moved = tmp_path / "a $HOME b"
    before.rename(moved)
    change_params(workspaces.at(moved), {"production": {"defect_rate": 0.2}, "promote": {"min_probability_cheaper": 0}})
    trained = in_process("train", "-w", moved)
    assert "Version 2 promoted to champion" in trained.stdout, trained.stderr
    image = next((moved / "data").rglob("*.png"))

    def version_that_inspects() -> str:
        answer = json.loads(in_process("inspect", image, "-w", moved).stdout.splitlines()[0])
        return str(answer["model_version"])

    assert version_that_inspects() == "2"
    assert in_process("rollback", "-w", moved).returncode == 0
    assert version_that_inspects() == "1"
