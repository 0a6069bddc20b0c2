"""A new champion's first parts in production, against what its evaluation promised."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from models.params import Promote
from models.vocabulary import Label, Verdict
from pipelines.adapters import model_registry
from pipelines.ledger import inspections, promotions, withdrawals
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Promotion, now
from pipelines.promotion import champions, promote, watch
from pipelines.workspace import Workspace
from tests.conftest import LINE, change_params
from tests.pipelines.ledger.test_ledger import inspection
from tests.pipelines.promotion.test_gate import RULES

EXPECTED = {"fail_rate": 0.1, "review_rate": 0.2}


def judged(passed: int = 0, reviewed: int = 0, failed: int = 0) -> dict[str, Verdict]:
    all_of = [Verdict.PASS] * passed + [Verdict.REVIEW] * reviewed + [Verdict.FAIL] * failed
    return {f"p{number}": verdict for number, verdict in enumerate(all_of)}


def bad(verdicts: dict[str, Verdict], labels: dict[str, str] | None = None, rules: Promote = RULES) -> list[str]:
    return [one.name for one in watch.failed(watch.questions(verdicts, labels or {}, EXPECTED, rules))]


def test_a_champion_that_judges_as_promised_is_not_reported() -> None:
    assert bad(judged(350, 100, 50)) == []


def test_more_failed_or_reviewed_parts_than_promised_are_reported() -> None:
    assert bad(judged(60, 10, 30)) == ["fails"]
    assert bad(judged(50, 50, 0)) == ["reviews"]
    assert bad(judged(1, 0, 1)) == []  # two parts prove nothing


def test_escapes_among_randomly_reviewed_parts_are_reported() -> None:
    verdicts = judged(400, 40, 20)
    labels = {f"p{number}": Label.DEFECT.value for number in range(12)}
    assert bad(verdicts, labels) == ["escapes"]
    assert bad(verdicts, dict.fromkeys(labels, Label.GOOD.value)) == []


@dataclass
class Registry:
    """Stands for the model registry: two versions and the alias."""

    champion: str = "2"
    tags: dict[str, dict[str, str]] = field(default_factory=dict)

    def version(self, _: Workspace, line: str, number: str) -> Any:
        tags = {"artefact_sha256": number * 64, "slices": "[]"}
        return SimpleNamespace(line=line, version=number, tags=tags, mlflow_run_id="run")


@pytest.fixture
def line(empty_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A line whose version 2 was promoted over version 1, and fails every part since."""
    registry = Registry()
    monkeypatch.setattr(
        model_registry, "champion", lambda place, name: registry.version(place, name, registry.champion)
    )
    monkeypatch.setattr(
        model_registry, "alias", lambda _, __, name: registry.champion if name == model_registry.CHAMPION else None
    )
    monkeypatch.setattr(model_registry, "version", registry.version)
    monkeypatch.setattr(model_registry, "set_alias", lambda _, __, ___, number: setattr(registry, "champion", number))
    monkeypatch.setattr(model_registry, "set_tags", lambda _, __, number, tags: registry.tags.update({number: tags}))
    monkeypatch.setattr(champions.tracking, "record", lambda *_: None)
    change_params(empty_workspace, {"promote": {"watch_parts": 50}})
    numbers: dict[str, Any] = {promote.EXPECTED: EXPECTED}
    with Ledger.open(empty_workspace.ledger_url) as ledger:
        for version, before in (("1", None), ("2", "1")):
            promotions.add(
                ledger,
                Promotion(
                    line=LINE,
                    kind="promote",
                    version=version,
                    champion_before=before,
                    reasons=[],
                    numbers=numbers,
                    state="done",
                    decided_at=now(),
                    follows=promotions.newest(ledger, LINE),
                ),
            )
        inspections.add(
            ledger,
            [
                inspection(f"r{n}", f"p{n}", artefact_sha256="2" * 64, verdict="fail", inspected_at=now())
                for n in range(60)
            ],
        )
    return empty_workspace


def test_a_bad_champion_is_reported_and_stays_by_default(line: Workspace) -> None:
    found = watch.watch(line)
    assert str(found) == ("watch of version 2: 50 of 50 parts: 50 of 50 parts fail, where at most 10.0% were expected")
    assert model_registry.alias(line, LINE, model_registry.CHAMPION) == "2"


def test_a_bad_champion_rolls_back_once_if_the_policy_says_so_and_the_ledger_knows_why(line: Workspace) -> None:
    change_params(line, {"promote": {"watch_parts": 50, "roll_back_on": ["fails"]}})
    found = watch.watch(line)
    assert found is not None
    assert found.rolled_back_to == model_registry.alias(line, LINE, model_registry.CHAMPION) == "1"
    with Ledger.open(line.ledger_url) as ledger:
        (withdrawal,) = withdrawals.standing(ledger, LINE)
        assert promotions.all_of(ledger, LINE)[-1].reasons == [
            "rolled back from version 2 to 1: 50 of 50 parts fail, where at most 10.0% were expected"
        ]
    assert (withdrawal.version, withdrawal.withdrawn_by) == ("2", watch.WATCH)
    assert watch.watch(line) is None  # nothing is watched after a rollback
