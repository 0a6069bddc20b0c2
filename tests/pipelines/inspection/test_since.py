from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from models.errors import BadInput
from pipelines.inspection import since
from pipelines.inspection.trace import render, trace
from pipelines.ledger import campaigns, inspections, promotions
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import DriftCheck, Promotion, Review
from tests.kept.unpacked import unpacked
from tests.pipelines.ledger.test_ledger import inspection


def test_what_changed_since_an_inspection_is_told(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        item = inspection("a", pass_below=0.3, fail_from=0.7)
        inspections.add(ledger, [item])
        assert since.changes(ledger, "widgets", item) == []
        later = item.inspected_at + timedelta(hours=1)
        inspections.add(
            ledger, [inspection("b", "p2", inspected_at=later, pass_below=0.2, fail_from=0.7, model_version="2")]
        )
        for kind, version, state in (("promote", "2", "done"), ("refuse", "3", "done"), ("promote", "4", "pending")):
            decision = Promotion(
                line="widgets", kind=kind, version=version, champion_before="1", reasons=[], numbers={}, state=state,
                decided_at=later,
            )  # fmt: skip
            promotions.add(ledger, decision)
        review = Review(
            line="widgets", part="p1", campaign_id=None, inspection_id=1, label="defect", reviewer="lab", comment=None,
            reviewed_at=later,
        )  # fmt: skip
        campaigns.add_review(ledger, review)
        check = DriftCheck(
            line="widgets", slice=None, checked_at=later, model_version="1", first_inspection=1, last_inspection=1, n=9,
            n_reference=9, judged=True, drifted=True, share_drifted=0.5, columns={}, top_descriptors=[],
            explanation="It drifted.", report=None, event_id=None,
        )  # fmt: skip
        with ledger.writing() as session:
            session.add(check)
        assert since.changes(ledger, "widgets", item) == [
            "champion: version 2, by a promotion on 2026-01-02 04:04 UTC",
            "thresholds: pass below 0.200, fail from 0.700 in the latest inspection, by version 2",
            "ground truth: defect, by lab on 2026-01-02 04:04 UTC",
            "drift of version 1: It drifted.",
        ]


def test_an_inspection_is_traced_by_its_number_and_a_part_of_that_name_stays_reachable(tmp_path: Path) -> None:
    place = unpacked(tmp_path)
    line = place.params().line
    with Ledger.open(place.ledger_url) as ledger:
        first = inspections.by_number(ledger, line, 1)
        assert first is not None
        told = render(trace(place, "1"))
        assert told.startswith(f"Part {first.part}, inspection 1")
        assert "since then" in told
        inspections.add(ledger, [inspection("r", "1", line=line, image=first.image, inspected_at=first.inspected_at)])
    assert trace(place, "1").part == "1"
    assert trace(place, None, 1).part == first.part
    with pytest.raises(BadInput, match="no inspection 99"):
        trace(place, None, 99)
