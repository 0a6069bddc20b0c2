from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows import artifacts, monitoring, run_log, stages, titles, training
from models.errors import BadData
from pipelines import progress
from pipelines.ingest import ingest
from pipelines.ledger import events
from pipelines.ledger.tables import DriftCheck, now
from pipelines.validation.validate import validate
from pipelines.workspace import Workspace
from tests.conftest import write_parts


def test_a_run_shows_what_validation_found_also_when_the_contract_did_not_hold(
    empty_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[str, str] = {}
    monkeypatch.setattr(artifacts, "create_markdown_artifact", lambda text, key, description: shown.update({key: text}))
    monkeypatch.setattr(stages, "validate", validate)
    write_parts(tmp_path / "few", 3)
    ingest.ingest(empty_workspace, str(tmp_path / "few"))
    with pytest.raises(BadData):
        training.train_and_promote(empty_workspace, trigger="a test")
    page = empty_workspace.artifacts / "validate" / "data_docs" / "index.html"
    assert "parts, " in page.read_text()
    assert "needed" in shown["validation"]
    assert "Data Docs" in shown["validation"]
    assert "file:" not in shown["validation"]


def test_a_table_holds_whatever_a_reason_says() -> None:
    text = artifacts.table([{"reason": "a|b\n*c* <img> `d`"}])
    assert text.splitlines()[2] == "| a\\|b \\*c\\* \\<img\\> \\`d\\` |"


def test_a_long_table_says_what_it_leaves_out() -> None:
    assert "… and 5 more." in artifacts.table([{"n": n} for n in range(artifacts.MOST_ROWS + 5)])


def test_a_drift_check_is_shown_with_sensible_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(artifacts, "create_markdown_artifact", lambda text, **_: shown.append(text))
    column = {"reference": 0.19999999, "current": 0.9651234, "shift": 7.000123, "p_value": 1.234e-12, "drifted": True}
    artifacts.drift(drift_check(columns={"score": column}))
    assert "| score | 0.2 | 0.965 | +7.0 | 1e-12 | yes |" in shown[0]


def test_a_run_is_called_after_what_it_found() -> None:
    assert monitoring.title_of(drift_check(columns={})) == "drift check 3 of poly: drift"


def test_every_name_in_prefect_says_what_it_is_of() -> None:
    assert titles.deployment("batch_inspection", "solar-cells") == "batch-inspection-solar-cells"
    assert titles.automation("solar-cells", events.DRIFT_DETECTED) == "a drift of solar-cells starts retraining"


def test_the_log_of_a_run_says_what_a_step_printed_also_in_a_program_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(run_log, "tell", told.append)
    with run_log.copied():
        progress.say("train: 5 images")
        subprocess.run(
            [sys.executable, "-c", "from pipelines import progress; progress.say('export: done')"], check=True
        )
    progress.say("not of this run")
    assert told == ["train: 5 images", "export: done"]


def drift_check(columns: dict[str, Any]) -> DriftCheck:
    check = DriftCheck(
        line="solar-cells",
        slice="poly",
        checked_at=now(),
        model_version="1",
        first_inspection=1,
        last_inspection=9,
        n=9,
        n_reference=20,
        judged=True,
        drifted=True,
        share_drifted=1.0,
        columns=columns,
        top_descriptors=[],
        explanation="Drift: 100% of 9 descriptors shifted over 9 parts.",
        report=None,
        event_id=None,
    )
    check.id = 3
    return check
