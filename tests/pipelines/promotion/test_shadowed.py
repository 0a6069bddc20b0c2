from __future__ import annotations

from pathlib import Path

from models.vocabulary import Verdict
from pipelines.ledger import inspections, shadows
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import ShadowVerdict, now
from pipelines.promotion import shadowed
from pipelines.promotion.gate import Decision
from pipelines.promotion.shadowed import Shadowed
from tests.conftest import LINE
from tests.pipelines.ledger.test_ledger import inspection

PASSED = Decision(True, ("cheaper",), {"look": 1})


def seen(agreed: int, **disputed: tuple[Verdict, Verdict]) -> Shadowed:
    return Shadowed({f"p{n}": (Verdict.PASS, Verdict.PASS) for n in range(agreed)} | disputed)


def test_a_version_waits_until_it_has_judged_enough_production_parts() -> None:
    decision = shadowed.first(PASSED, seen(10), 30)
    assert (decision.promote, decision.waits) == (False, True)
    assert decision.reasons[0].startswith("waits in the champion's shadow for 20 more production parts")
    assert shadowed.first(PASSED, seen(30), 30).promote


def test_the_promotion_names_the_disputed_parts_the_flipped_ones_first() -> None:
    beside = seen(3, a=(Verdict.REVIEW, Verdict.PASS), b=(Verdict.FAIL, Verdict.PASS))
    decision = shadowed.first(PASSED, beside, 5)
    assert decision.reasons[-1] == "same verdict as the champion on 3 of 5 production parts, 2 disputed: b, a"
    assert decision.numbers["shadow"] == {"parts": 5, "disputed": ["b", "a"]}


def test_a_refused_version_stays_refused() -> None:
    refused = Decision(False, ("dearer",), {})
    assert shadowed.first(refused, seen(0), 30) == refused


def test_a_part_has_the_worst_verdict_of_its_images_and_other_champions_do_not_count(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        items = [
            inspection("r1", "a", verdict="pass"),
            inspection("r2", "a", verdict="fail", image="ef" * 32),
            inspection("r3", "b", verdict="pass", model_version="0"),
        ]
        inspections.add(ledger, items)
        for item in items:
            shadows.add(
                ledger,
                ShadowVerdict(
                    line=LINE,
                    inspection_id=item.id,
                    model_version="2",
                    artefact_sha256="22",
                    score=0.1,
                    raw_score=0.1,
                    verdict="pass",
                    judged_at=now(),
                ),
            )
        assert shadowed.read(ledger, LINE, "1", "2").verdicts == {"a": (Verdict.FAIL, Verdict.PASS)}
