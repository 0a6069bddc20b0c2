"""The `retraining` flow: a drift event becomes ground truth, a challenger and a recorded decision.

Whatever interrupts it, the request in the ledger knows how far it came and the next run goes on from there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from prefect import flow, runtime, task

from flows.training import Outcome, train_and_promote
from pipelines import workspace as workspaces
from pipelines.ledger.ledger import Ledger
from pipelines.workspace import Workspace

MANUAL = "manual"
POLL_S = 1.0


@dataclass(frozen=True)
class Retraining:
    """Where a request stands. `state` is the ledger's word: labelling, promoted, refused or cancelled."""

    request_id: int
    state: str
    message: str


@flow(name="retraining", flow_run_name="retraining {workspace}")
def retraining(workspace: str, trigger: str = MANUAL, event_id: str | None = None) -> Retraining:
    """Ask for ground truth of the new production, learn from it in a clone of the workspace, and gate the result."""
    place = workspaces.at(Path(workspace))
    request = accept(place, trigger, event_id)
    if request.is_closed:
        return Retraining(request.id, request.state, f"Not started: {request.outcome}")
    campaign = ask_for_labels(place, request.id)
    if not wait_for_labels(place, campaign, place.params().retrain.wait_for_labels_s):
        return Retraining(request.id, "labelling", f"Waiting for ground truth: defectloop review (campaign {campaign})")
    clone = take_clone(place)
    labels = ingest_labels(clone, campaign)
    outcome = train_and_promote(clone)
    publish(place, clone)
    return close(place, request.id, labels, outcome)
