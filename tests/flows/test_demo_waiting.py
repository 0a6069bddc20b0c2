"""The demo waits for the retraining as long as its flow runs, and no longer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.demo import summary
from models.errors import DefectloopError
from pipelines.ledger import requests
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import RetrainingRequest, now


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def open_request(ledger: Ledger) -> int:
    new = RetrainingRequest(line="widgets", trigger="drift", event_id=None, state="training", opened_at=now())
    return requests.decide(ledger, "widgets", lambda _: new).id


def test_an_outcome_is_waited_for_while_the_flow_runs(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "POLL_S", 0.0)
    request_id = open_request(ledger)
    asked = iter([True, True, True])

    def still_runs() -> bool:
        if next(asked, None) is None:
            requests.change(ledger, request_id, state="promoted")
        return True

    assert summary.wait_for_outcome(ledger, request_id, still_runs).state == "promoted"


def test_a_flow_that_ended_without_an_outcome_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(DefectloopError, match="ended without an outcome"):
        summary.wait_for_outcome(ledger, open_request(ledger), lambda: False)
