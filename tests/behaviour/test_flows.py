"""Flows as a user starts them: on a real Prefect server, two at once, with what goes wrong outside."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.adapters import model_registry
from pipelines.ledger import promotions
from pipelines.ledger.ledger import Ledger
from pipelines.snapshots import snapshot
from tests.conftest import LINE, change_params, stocked_workspace
from tests.programs import Preloaded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


def test_two_trainings_of_one_line_at_once_end_as_one(tmp_path: Path, places: dict[str, str]) -> None:
    place = stocked_workspace(tmp_path)
    command = [sys.executable, "-m", "flows.cli", "train", "--json", "--workspace", str(place.root)]
    pair = [
        subprocess.Popen(command, env=os.environ | places, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = []
    for process in pair:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        answers.append(json.loads(out))
    assert sorted(answer["trained"] for answer in answers) == [False, True]
    assert {answer["version"] for answer in answers} == {"1"}
    assert len(model_registry.versions(place, LINE)) == 1
    assert len(snapshot.snapshots(place)) == 1
    with Ledger.open(place.ledger_url) as ledger:
        assert [item.kind for item in promotions.all_of(ledger, LINE)] == ["promote"]


def test_an_unchanged_dvc_repro_runs_no_stage_and_an_experiment_takes_a_parameter(
    tmp_path: Path, champion_root: Path
) -> None:
    import shutil

    root = tmp_path / "by-hand"
    shutil.copytree(champion_root, root, symlinks=True)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def dvc(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "Running stage" not in dvc("repro")
    ran = dvc("exp", "run", "-S", "train.epochs=3")
    assert "Running stage 'train'" in ran
    assert "overall.auroc" in dvc("metrics", "diff", "--all")
    dvc("plots", "diff")
    assert (root / "dvc_plots" / "index.html").exists()


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:9", "tracking server http://127.0.0.1:9 does not answer"),
        ("PREFECT_API_URL", "http://127.0.0.1:9/api", "Prefect server at http://127.0.0.1:9/api does not answer"),
    ],
)
def test_a_server_that_does_not_answer_is_named(
    variable: str, value: str, says: str, tmp_path: Path, places: dict[str, str], defectloop
) -> None:
    place = stocked_workspace(tmp_path)
    done = defectloop("train", "--workspace", place.root, **(places | {variable: value}))
    assert done.returncode == 5
    assert says in done.stderr


def test_monitoring_a_line_without_a_champion_says_what_to_do(
    tmp_path: Path, places: dict[str, str], defectloop
) -> None:
    done = defectloop("monitor", "--workspace", stocked_workspace(tmp_path).root, **places)
    assert done.returncode == 3
    assert "→ Train one: defectloop train" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_remote_that_does_not_answer_is_named_and_nothing_is_lost(
    tmp_path: Path, places: dict[str, str], defectloop
) -> None:
    place = stocked_workspace(tmp_path)
    (tmp_path / "remote").write_text("no directory")
    config = place.root / ".dvc" / "config.local"
    config.write_text(f"['remote \"storage\"']\n    url = {tmp_path / 'remote'}\n")
    assert defectloop("validate", "--workspace", place.root).returncode == 0
    done = defectloop("snapshot", "--workspace", place.root)
    assert done.returncode == 5
    assert "remote" in done.stderr
    assert place.annotations.exists()
    config.unlink()
    assert "data/widgets/1" in defectloop("snapshot", "--workspace", place.root).stdout


def test_a_backbone_that_needs_the_network_says_so_and_names_the_packaged_ones(
    tmp_path: Path, places: dict[str, str], defectloop
) -> None:
    place = stocked_workspace(tmp_path)
    change_params(place, {"model": {"backbone": "vit_tiny_patch16_224", "weights": "hub"}})
    done = defectloop("train", "--workspace", place.root, HF_HUB_OFFLINE="1", **places)
    assert done.returncode == 5
    assert "tf_efficientnet_lite0" in done.stderr


def test_a_vision_transformer_goes_the_whole_way(tmp_path: Path, places: dict[str, str], preloaded: Preloaded) -> None:
    place = stocked_workspace(tmp_path)
    change_params(place, {"model": {"backbone": "vit_tiny_patch16_224", "weights": "none"}, "train": {"epochs": 2}})
    change_params(place, {"promote": {"min_auroc": 0.0, "max_escape_rate": 1.0, "max_overkill_rate": 1.0}})
    done = preloaded.run("-m", "flows.cli", "train", "--workspace", place.root, cwd=tmp_path, **places)
    assert done.returncode == 0, done.stderr


def test_a_port_in_use_is_an_error_that_names_it(tmp_path: Path, taken_port: int, defectloop) -> None:
    place = stocked_workspace(tmp_path)
    done = defectloop("deploy", "--workspace", place.root, "--port", taken_port)
    assert done.returncode == 2
    assert f"Port {taken_port} is in use" in done.stderr
