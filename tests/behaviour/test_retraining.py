"""A retraining that is killed at each of its steps ends as an undisturbed one; one that raises an error has failed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.dataset import annotation_table
from pipelines import workspace as workspaces
from pipelines.adapters import model_registry
from pipelines.image_files.image_store import open_store
from pipelines.ledger import campaigns, events, inspections, promotions, requests
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Event, now
from pipelines.review import answers
from pipelines.snapshots import snapshot
from pipelines.workspace import Workspace
from tests.conftest import LINE, picture
from tests.pipelines.ledger.test_ledger import inspection
from tests.programs import Preloaded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

EVENT = "drift-1"
COMMAND = ("-m", "flows.cli")
BEFORE_LABELS = (
    ("accept", "pipelines.ledger.requests:decide:before", 1),
    ("accept", "pipelines.ledger.requests:decide:after", 1),
    ("ask", "pipelines.ledger.campaigns:add:after", 1),
    ("wait", "pipelines.ledger.campaigns:is_open:after", 1),
)
AFTER_LABELS = (
    ("clone", "pipelines.retraining.clone:take_clone:after", 1),
    ("ingest", "pipelines.ingest.ingest:take_in:after", 1),
    ("train", "pipelines.adapters.dataset_versions:run_stage:after", 1),
    ("publish", "pipelines.retraining.clone:publish:after", 1),
    ("gate", "pipelines.promotion.promote:promote:after", 1),
    ("close", "pipelines.ledger.requests:change:before", 1),
)


@pytest.fixture
def produced(champion_root: Path, tmp_path: Path) -> Path:
    """A line with a champion, twelve parts of new production, and a drift that waits for a retraining."""
    root = tmp_path / "line"
    shutil.copytree(champion_root, root, symlinks=True)
    place = workspaces.at(root)
    store = open_store(place.store_url)
    with Ledger.open(place.ledger_url) as ledger:
        images = [store.put(picture(n, defective=n % 2 == 0, bright=True)) for n in range(5000, 5012)]
        inspections.add(
            ledger, [inspection(f"r{n}", f"new{n}", image=image, slice="gloss") for n, image in enumerate(images)]
        )
        with ledger.writing() as session:
            session.add(Event(id=EVENT, line=LINE, name=events.DRIFT_DETECTED, payload={}, happened_at=now()))
    return root


@dataclass(frozen=True)
class State:
    """Everything that has to be the same; ids and times are the machine's, the times of the answers too."""

    rows: list[tuple[str, str, str]]
    snapshots: list[int]
    versions: list[tuple[str, tuple[str, ...]]]
    decisions: list[tuple[str, str, str]]
    requests: list[tuple[str, int, str | None, str | None]]
    campaigns: int


def state(place: Workspace) -> State:
    with Ledger.open(place.ledger_url) as ledger:
        decided = [(item.kind, item.version, item.state) for item in promotions.all_of(ledger, LINE)]
        asked = [(r.state, r.new_labels, r.snapshot, r.version) for r in requests.all_of(ledger, LINE)]
        assert events.waiting(ledger, LINE) == []
        highest = max(r.campaign_id or 0 for r in requests.all_of(ledger, LINE))
    learned = place.state / "automation" / LINE / "data" / "annotations.parquet"
    return State(
        rows=[(row["image"], row["label"], row["split"]) for row in annotation_table.load(learned).to_pylist()],
        snapshots=[taken.number for taken in snapshot.snapshots(place)],
        versions=[(v.version, v.aliases) for v in model_registry.versions(place, LINE)],
        decisions=decided,
        requests=asked,
        campaigns=highest,
    )


@dataclass(frozen=True)
class Flow:
    """The flow as the drift's event starts it, as a program."""

    place: Workspace
    preloaded: Preloaded
    places: dict[str, str]

    def retrain(self, kill_at: str = "::", call: int = 1, **environment: str) -> subprocess.CompletedProcess[str]:
        code = (
            "import sys; from flows.retraining import retraining; from pipelines.ledger.events import DRIFT_DETECTED; "
            f"print(retraining(sys.argv[1], DRIFT_DETECTED, {EVENT!r}).state)"
        )
        kill = {"KILL_AT": kill_at, "KILL_CALL": str(call)}
        root = self.place.root
        return self.preloaded.run("-c", code, str(root), cwd=root, **self.places | kill | environment)

    def finish(self) -> None:
        done = self.retrain()
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1] in ("promoted", "refused")


def answer_all(place: Workspace) -> None:
    with Ledger.open(place.ledger_url) as ledger:
        for item in campaigns.waiting(ledger, LINE):
            part = item.inspection.part
            answers.record(ledger, LINE, part, "defect" if int(part[3:]) % 2 == 0 else "good", "lab")


def test_killed_at_every_step_and_run_again_it_ends_like_an_undisturbed_one(
    produced: Path, tmp_path: Path, preloaded: Preloaded, places: dict[str, str]
) -> None:
    # One after the other at the same path: snapshots and runs must not differ by where they were made.
    kept = tmp_path / "kept"
    shutil.copytree(produced, kept, symlinks=True)
    place = workspaces.at(produced)
    flow = Flow(place, preloaded, places)
    asked = flow.retrain()
    assert asked.stdout.splitlines()[-1:] == ["awaiting_labels"], asked.stdout + asked.stderr
    answer_all(place)
    flow.finish()
    undisturbed = state(place)
    shutil.rmtree(produced)
    kept.rename(produced)

    def killed(kills: tuple[tuple[str, str, int], ...]) -> None:
        for step, where, call in kills:
            died = flow.retrain(where, call)
            assert died.returncode == -signal.SIGKILL, f"{step}: {where} was never reached\n{died.stdout}{died.stderr}"
            with Ledger.open(place.ledger_url) as ledger:  # it is called again, unless people are waited for
                assert events.waiting(ledger, LINE) or campaigns.waiting(ledger, LINE), step

    killed(BEFORE_LABELS)
    answer_all(place)
    killed(AFTER_LABELS)
    flow.finish()
    assert state(place) == undisturbed


def test_one_that_raises_an_error_has_failed_and_a_person_starts_anew_with_its_labels(
    produced: Path, preloaded: Preloaded, places: dict[str, str]
) -> None:
    place = workspaces.at(produced)
    flow = Flow(place, preloaded, places)
    assert flow.retrain().stdout.splitlines()[-1] == "awaiting_labels"
    answer_all(place)
    broken = flow.retrain(MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert broken.returncode != 0
    again = flow.retrain()  # the same event, delivered once more
    assert again.stdout.splitlines()[-1] == "failed", again.stdout + again.stderr
    with Ledger.open(place.ledger_url) as ledger:
        (failed,) = requests.all_of(ledger, LINE)
        assert "127.0.0.1:9" in failed.outcome
    said = preloaded.run(*COMMAND, "status", "--workspace", place.root, cwd=place.root).stdout
    assert "127.0.0.1:9" in said
    assert "→ defectloop retrain" in said
    anew = preloaded.run(*COMMAND, "retrain", "--json", "--workspace", place.root, cwd=place.root, **places)
    assert json.loads(anew.stdout)["state"] in ("promoted", "refused"), anew.stderr
    with Ledger.open(place.ledger_url) as ledger:
        first, second = requests.all_of(ledger, LINE)
        assert (second.campaign_id, second.new_labels) == (first.campaign_id, 12)
