from __future__ import annotations

from flows import retraining, training
from pipelines.ledger import drift_checks, inspections
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import DriftCheck, RetrainingRequest, now
from pipelines.review import answers
from pipelines.workspace import Workspace
from tests.conftest import LINE
from tests.pipelines.ledger.test_ledger import inspection


def test_a_training_counts_the_reviewed_parts_that_it_leaves_to_the_retraining(empty_workspace: Workspace) -> None:
    assert training.reviewed_waiting(empty_workspace) == 0
    with Ledger.open(empty_workspace.ledger_url) as ledger:
        inspections.add(ledger, [inspection("request", "part")])
        answers.record(ledger, LINE, "part", "good", "lab")
    assert training.reviewed_waiting(empty_workspace) == 1


def test_a_drift_names_the_slice_that_its_retraining_has_to_improve(empty_workspace: Workspace) -> None:
    with Ledger.open(empty_workspace.ledger_url) as ledger:
        drift_checks.add(
            ledger,
            DriftCheck(
                line=LINE,
                slice="gloss",
                checked_at=now(),
                model_version="1",
                first_inspection=1,
                last_inspection=2,
                n=2,
                n_reference=2,
                judged=True,
                drifted=True,
                share_drifted=1.0,
                columns={},
                top_descriptors=[],
                explanation="Drift.",
                report=None,
                event_id="event",
            ),
        )
    by_drift, by_person = (
        RetrainingRequest(line=LINE, trigger="drift", event_id=event, state="open", opened_at=now())
        for event in ("event", None)
    )
    assert retraining.triggered_slices(empty_workspace, by_drift) == ("gloss",)
    assert retraining.triggered_slices(empty_workspace, by_person) == ()
