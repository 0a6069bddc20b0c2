"""SIGKILL anywhere in a training; the same command again ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from models.dataset import annotation_table
from pipelines.adapters import model_registry, tracking
from pipelines.image_files import quarantine
from pipelines.ingest import ingest
from pipelines.ledger import promotions
from pipelines.ledger.ledger import Ledger
from pipelines.snapshots import snapshot
from pipelines.workspace import Workspace
from tests.conftest import LINE, picture, stocked_workspace
from tests.programs import Preloaded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

# Where each run of the same command is killed: one after the other, each resumes what the one before left.
KILLS = (
    ("validate", "pipelines.image_files.quarantine:put:after", 1),
    ("validate", "models.dataset.annotation_table:save:before", 1),
    ("snapshot", "pipelines.adapters.dataset_versions:add_data:after", 1),
    ("snapshot", "pipelines.adapters.git:tag:before", 1),
    ("snapshot", "pipelines.adapters.dataset_versions:push_data:before", 1),
    ("train", "models.training.fitting:History.on_train_epoch_end:after", 5),
    ("train", "models.classification.training:train:after", 1),
    ("export", "models.detector.onnx_graphs:detector:after", 1),
    ("register", "pipelines.adapters.tracking:finish_run:after", 1),
    ("register", "pipelines.adapters.model_registry:_logged_model:after", 1),
    ("promote", "pipelines.ledger.promotions:add:after", 1),
    ("promote", "pipelines.adapters.model_registry:set_tags:before", 1),
)
OF_TRUE_PROGRAMS = "models.training.fitting:History.on_train_epoch_end:after"


@dataclass(frozen=True)
class State:
    """Everything that has to be the same; ids and times are the machine's."""

    images: list[str]
    quarantined: list[tuple[str, str]]
    snapshots: list[tuple[int, str]]
    runs: int
    metrics: dict[str, float]
    versions: list[tuple[str, str, tuple[str, ...]]]
    promotions: list[tuple[str, str, str]]


def state(place: Workspace) -> State:
    mlflow = tracking.client(place)
    runs = mlflow.search_runs([tracking.experiment_id(place, mlflow, LINE)])
    with Ledger.open(place.ledger_url) as ledger:
        decided = [(item.kind, item.version, item.state) for item in promotions.all_of(ledger, LINE)]
    return State(
        images=annotation_table.load(place.annotations)["image"].to_pylist(),
        quarantined=[(entry.path, entry.reason) for entry in quarantine.entries(place)],
        snapshots=[(taken.number, taken.data_hash) for taken in snapshot.snapshots(place)],
        runs=len(runs),
        metrics=dict(runs[0].data.metrics),
        versions=[(v.version, v.tags["gate"], v.aliases) for v in model_registry.versions(place, LINE)],
        promotions=decided,
    )


def weights(place: Workspace) -> dict[str, torch.Tensor]:
    return torch.load(place.artifacts / "train" / "detector.ckpt", weights_only=True)


def line_with_a_bad_image(root: Path) -> Workspace:
    place = stocked_workspace(root)
    bad = root / "bad"
    bad.mkdir()
    (bad / "cut.png").write_bytes(picture(500, defective=False)[:900])
    (bad / "bad.csv").write_text("path,label,slice\ncut.png,good,matt\n")
    ingest.ingest(place, str(bad / "bad.csv"))
    return place


@dataclass(frozen=True)
class Line:
    """A line and its programs: forks of what is loaded already, and true ones, which take half a minute."""

    place: Workspace
    preloaded: Preloaded
    places: dict[str, str]

    def train(self, kill_at: str = "::", call: int = 1, *, true: bool = False) -> subprocess.CompletedProcess[str]:
        words = ("-m", "flows.cli", "train", "--workspace", str(self.place.root))
        kill = {"KILL_AT": kill_at, "KILL_CALL": str(call)}
        if not true:
            return self.preloaded.run(*words, cwd=self.place.root, **self.places | kill)
        return subprocess.run(
            [sys.executable, *words],
            env=os.environ | self.places | kill | {"PYTHONPATH": str(Path(__file__).parent)},
            cwd=self.place.root,
            capture_output=True,
            text=True,
            start_new_session=True,
            check=False,
        )


def test_killed_at_every_step_and_run_again_it_ends_like_an_undisturbed_run(
    tmp_path: Path, preloaded: Preloaded, places: dict[str, str]
) -> None:
    undisturbed, killed = (Line(line_with_a_bad_image(tmp_path / name), preloaded, places) for name in ("a", "b"))
    done = undisturbed.train()
    assert done.returncode == 0, done.stderr
    for step, where, call in KILLS:
        died = killed.train(where, call, true=where == OF_TRUE_PROGRAMS)
        assert died.returncode == -signal.SIGKILL, f"{step}: {where} was never reached\n{died.stdout}{died.stderr}"
    finished = killed.train()
    assert finished.returncode == 0, finished.stderr
    assert state(killed.place) == state(undisturbed.place)
    expected = weights(undisturbed.place)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(killed.place).items())
    before = state(killed.place)
    assert killed.train().returncode == 0
    assert state(killed.place) == before
