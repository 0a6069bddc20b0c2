"""The demo, from top to bottom: initial data, first model, steady production, new material, ground truth, second model.

Every step can be repeated and recognises completed work, so a killed demo continues where it stopped.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from rich.console import Console

from flows import home
from flows.demo import cells, costs, service, summary
from flows.demo.meter import MemoryMeter
from flows.demo.narration import Narrator
from flows.demo.notes import Notes
from models.errors import DefectloopError, Refused
from pipelines.initialise import init
from pipelines.ledger.ledger import Ledger
from pipelines.workspace import Workspace

LINE = "solar-cells"
POLL_S = 0.5
REQUEST_TIMEOUT_S = 120.0


def play(directory: Path, *, as_json: bool) -> None:
    """Run the demo in `directory` and write `summary.json` there. A finished demo is shown again without training."""
    console = Console(stderr=as_json, highlight=False)
    narrator = Narrator(console)
    with MemoryMeter() as meter, narrator.whole():
        place = init(directory, LINE)
        costs.settle(place)
        home.use(place)
        notes = Notes(place)
        trained_before = summary.trainings(place)
        if summary.is_finished(place, notes):
            console.print(f"The demo has already run. To start again: rm -r {directory}", soft_wrap=True)
        else:
            with service.deployed(place):
                _play(place, narrator, notes)
    result = summary.write(
        place, notes, narrator.timings_s, peak_memory_mb=meter.peak_mb, trained_before=trained_before
    )
    summary.show(place, result, console, narrator.timeline)
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")


def _play(place: Workspace, narrator: Narrator, notes: Notes) -> None:
    # Once a retraining has started, `deploy` continues it and may hold the line's lock; the steps before it are done.
    if notes.get("flow_run_id") is None:
        _first_stock(place, narrator)
        _first_champion(place, narrator, notes)
        _steady_production(place, narrator, notes)
        _new_material(place, narrator, notes)
    _second_champion(place, narrator, notes)


def _first_stock(place: Workspace, narrator: Narrator) -> None:
    from pipelines.ingest import ingest
    from pipelines.snapshots.snapshot import snapshot
    from pipelines.validation.validate import validate

    narrator.chapter("1  Initial data: monocrystalline cells with ground truth, and a damaged delivery")
    with narrator.step("ingest_mono", "ingest monocrystalline cells") as step:
        good = ingest.take_in(place, cells.cells(place, "mono"), track=narrator.track)
        bad = ingest.ingest(place, str(cells.damaged(place)))
        n = good.added + good.already_present
        step.says = f"{n} cells ingested; from the damaged delivery, {len(bad.quarantined)} duplicate quarantined"
    with narrator.step("validate_mono", "validate with Great Expectations") as step:
        report = validate(place)
        step.says = f"{report.n_checked} images validated, {len(report.quarantined)} quarantined"
    for entry in report.quarantined:
        narrator.detail(f"{entry.path}: {entry.reason}")
    with narrator.step("snapshot_mono", "snapshot with DVC") as step:
        taken = snapshot(place)
        step.says = f"snapshot {taken.tag}: {taken.n_images} images, {taken.data_hash[:12]}…, committed, tagged, pushed"


def _first_champion(place: Workspace, narrator: Narrator, notes: Notes) -> None:
    from flows.training import training

    narrator.chapter("2  The first model: the training flow runs the DVC stages and the gate")
    if notes.get("training_flow_run") is not None:
        narrator.detail("already done")
        return
    with narrator.step("training_flow", "training flow", quiet=True) as step:
        state = training(str(place.root), return_state=True)
        outcome = state.result()
        verdict = "champion" if outcome.promoted else "refused"
        step.says = f"version {outcome.version} from {outcome.snapshot} is {verdict}"
    for reason in outcome.reasons:
        narrator.detail(reason)
    if not outcome.promoted:
        raise Refused("The gate refused the first model.", next_step="Read its report.html.")
    notes.keep_once(training_flow_run=str(state.state_details.flow_run_id))


def _steady_production(place: Workspace, narrator: Narrator, notes: Notes) -> None:
    narrator.chapter("3  Steady production: held-out monocrystalline cells")
    _replay(place, narrator, "mono", "test")
    _monitor(place, narrator, notes, "mono")


def _new_material(place: Workspace, narrator: Narrator, notes: Notes) -> None:
    from pipelines.ingest import ingest
    from pipelines.snapshots.snapshot import snapshot
    from pipelines.validation.validate import validate

    narrator.chapter("4  Production switches to polycrystalline cells")
    with narrator.step("acceptance_poly", "ingest the acceptance set of the new material") as step:
        report = ingest.take_in(place, cells.cells(place, "poly", "test"))
        validate(place)
        taken = snapshot(place)
        n = report.added + report.already_present
        step.says = f"{n} polycrystalline cells kept as frozen test parts, snapshot {taken.tag}"
    service.wait_until_serving(LINE)
    _replay(place, narrator, "poly", "train", "validation")
    _monitor(place, narrator, notes, "poly")


def _second_champion(place: Workspace, narrator: Narrator, notes: Notes) -> None:
    from pipelines.inspection.predict import open_inspector

    narrator.chapter("5  The drift event starts retraining; ground truth arrives")
    service.wait_until_serving(LINE)
    interrupted = notes.get("flow_run_id") is not None  # in an earlier call
    with Ledger.open(place.ledger_url) as ledger, open_inspector(place) as inspector:
        before = inspector.version
        with narrator.step("event_to_flow", "wait for the automation") as step:
            request = summary.wait_for_request(ledger, LINE, REQUEST_TIMEOUT_S)
            assert request.flow_run_id is not None
            notes.keep_once(flow_run_id=request.flow_run_id, triggered_by=service.started_by(request.flow_run_id))
            step.says = f"started by the automation “{notes.get('triggered_by')}”"
        with narrator.step("labels", "ground truth for the campaign") as step:
            answered = _answer_campaign(place, ledger, request.id)
            step.says = f"{answered} labels recorded, reviewer {cells.REVIEWER}"
        with narrator.step("retraining_flow", "snapshot, train, export, evaluate, gate", quiet=True) as step:
            if interrupted:
                from flows.retraining import retraining

                retraining(str(place.root))  # does nothing if `deploy` is at it already
            request = summary.wait_for_outcome(ledger, request.id, lambda: service.is_retraining(LINE))
            step.says = f"version {request.version} from {request.snapshot} is {request.state}"
        for reason in request.outcome.split("; "):
            narrator.detail(reason)
        if request.state != "promoted":
            raise Refused("The gate refused the challenger.", next_step="Read its report.html in MLflow.")
        with narrator.step("switch", "switch the runtime") as step:
            inspector.refresh()
            if inspector.version != request.version:
                raise DefectloopError(f"The runtime serves version {inspector.version}, not {request.version}.")
            step.says = f"the inspection runtime switched from version {before} to {inspector.version}"
    with narrator.step("flow_overhead", "read the flows' times") as step:
        overhead = {
            f"{name}_flow_overhead": service.overhead_s(notes.get(f"{key}") or "")
            for name, key in (("training", "training_flow_run"), ("retraining", "flow_run_id"))
        }
        notes.keep_once(**{name: str(value) for name, value in overhead.items()})
        step.says = ", ".join(f"{name.replace('_', ' ')} {value:.1f} s" for name, value in overhead.items())


def _replay(place: Workspace, narrator: Narrator, slice: str, *splits: str) -> None:
    from pipelines.inspection.predict import replay

    with narrator.step(f"replay_{slice}", f"replay {slice} production") as step:
        items = cells.production(place, slice, *splits)
        report = replay(place, narrator.track(items, len(items)), f"{slice} production")
        counts = ", ".join(f"{n} {verdict}" for verdict, n in report.verdicts.items()) or "all inspected before"
        step.says = f"{len(items)} parts inspected into the ledger: {counts}"


def _monitor(place: Workspace, narrator: Narrator, notes: Notes, slice: str) -> None:
    from flows.monitoring import monitoring

    with narrator.step(f"monitoring_{slice}", "monitoring flow with Evidently") as step:
        check = monitoring(str(place.root))
        if check.judged:
            notes.keep_once(**{f"{slice}_check": str(check.id)})
        step.says = check.explanation


def _answer_campaign(place: Workspace, ledger: Ledger, request_id: int) -> int:
    """Answer the campaign as the laboratory would: label every part that it asks about. Returns the number of labels."""
    from flows import reviewing
    from pipelines.ledger import requests

    deadline = time.monotonic() + REQUEST_TIMEOUT_S
    while next(r for r in requests.all_of(ledger, LINE) if r.id == request_id).campaign_id is None:
        if time.monotonic() > deadline:
            raise DefectloopError("The retraining flow asked for no labels.", next_step="Read deploy.log.")
        time.sleep(POLL_S)
    truth = cells.truth(place)
    asked = [item.inspection.part for item in reviewing.waiting(place).asked]
    for part in asked:
        reviewing.answer(place, part, truth[part], cells.REVIEWER)
    return len(asked)
