from __future__ import annotations

from flows import training
from pipelines.ledger import inspections
from pipelines.ledger.ledger import Ledger
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
