from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.params import Monitor
from pipelines.image_files import image_store
from pipelines.ledger import drift_checks, promotions
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import DriftCheck, Inspection, Promotion
from pipelines.monitoring import drift_page, drift_windows
from pipelines.pages import index, page
from pipelines.pages.page import Header
from pipelines.workspace import Workspace
from tests import pages
from tests.conftest import LINE, picture

BEGUN = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)
RULES = Monitor(window=400, min_window=100, schedule="0 * * * *")
NAME = "a-part-with-a-serial-number-that-is-much-longer-than-a-telephone-is-wide-0001"


def inspection(number: int, image: str) -> Inspection:
    return Inspection(
        request_id=f"r{number}",
        line=LINE,
        part=f"{NAME}-{number}",
        slice="gloss",
        source="test",
        image=image,
        captured_at=None,
        inspected_at=BEGUN + timedelta(minutes=number),
        model_version="1",
        artefact_sha256="cd" * 32,
        score=0.5 + number / 100,
        raw_score=0.0,
        verdict="fail",
        latency_ms=5.0,
        regions=[],
        descriptors={"score": 0.5 + number / 100, "projection_3": float(number)},
    )


def check(number: int, *, report: Path | None = None, drifted: bool = True) -> DriftCheck:
    column = {"reference": 0.2, "current": 0.9, "shift": 3.5, "p_value": 1e-9, "drifted": drifted}
    return DriftCheck(
        line=LINE,
        slice="gloss",
        checked_at=BEGUN + timedelta(hours=number),
        model_version="1",
        first_inspection=1,
        last_inspection=number,
        n=12,
        n_reference=40,
        judged=True,
        drifted=drifted,
        share_drifted=1.0,
        columns={"score": column, "projection_3": column},
        top_descriptors=["score"],
        explanation="Drift: 100% of 2 descriptors shifted over 12 parts; score rose from 0.2 to 0.9.",
        report=str(report) if report else None,
        event_id=None,
    )


@pytest.fixture
def drift_report(empty_workspace: Workspace) -> Path:
    place = empty_workspace
    image = image_store.open_store(place.store_url).put(picture(1, defective=True, bright=True))
    window = [inspection(number, image) for number in range(12)]
    accepted_on = {"slice": ["matt"] * 3, "score": [0.1, 0.2, 0.3], "projection_3": [0.1, 0.2, 0.3]}
    out = index.drift_page(place, "1", 12)
    out.parent.mkdir(parents=True)
    index.detail_of(out).write_text("Evidently's page")
    with Ledger.open(place.ledger_url) as ledger:
        drift_page.write(place, ledger, check(12), window, drift_windows.parts_of(window), accepted_on, RULES, out)
        drift_checks.add(ledger, check(12, report=out))
        decision = Promotion(
            line=LINE, kind="promote", version="1", champion_before=None, reasons=["AUROC 0.9"], numbers={}, state="done",
            decided_at=BEGUN,
        )  # fmt: skip
        promotions.add(ledger, decision)
    index.write(place)
    return out


def test_a_drift_report_says_what_shifted_in_plain_words_and_shows_the_parts(drift_report: Path) -> None:
    text = drift_report.read_text()
    assert pages.faults(drift_report) == []
    assert text.index("score rose from 0.2 to 0.9") < text.index("<table>")
    assert "what the network sees (axis 3)" in text
    assert "projection_3" not in text
    assert "gloss: 12 parts" in text
    assert "2026-01-02 03:00 to 2026-01-02 03:11 UTC" in text
    assert "8 of 12 parts" in text
    assert text.count("data:image/jpeg") == 8
    assert text.index(f"{NAME}-11") < text.index(f"{NAME}-10"), "the most shifted part comes first"
    assert "Their images are not in this workspace" in text, "the older reference names no parts"
    assert 'href="v1-12-evidently.html"' in text


def test_the_index_lists_decisions_and_drift_checks_with_their_reports(drift_report: Path) -> None:
    listed = drift_report.parent.parent / "index.html"
    assert pages.faults(listed) == []
    text = listed.read_text()
    assert 'href="drift/v1-12.html"' in text
    assert "version 1" in text
    assert "promoted" in text


@pytest.mark.slow
@pytest.mark.skipif(pages.CHROMIUM is None, reason=pages.NO_CHROMIUM)
def test_pages_fit_a_telephone(drift_report: Path, tmp_path: Path) -> None:
    for name in (drift_report, drift_report.parent.parent / "index.html"):
        assert pages.width(name, tmp_path) <= 400, name


def test_the_oldest_reports_go_but_never_one_that_a_promotion_refers_to(
    empty_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "MOST_REPORTS", 3)
    reports = [index.drift_page(empty_workspace, "1", number) for number in range(6)]
    reports[0].parent.mkdir(parents=True)
    for age, report in enumerate(reports):
        for one in (report, index.detail_of(report)):
            one.write_text("page")
            os.utime(one, (age, age))
    index.remove_old(empty_workspace, [reports[0]])
    assert [report.exists() for report in reports] == [True, False, False, False, True, True]
    assert [index.detail_of(report).exists() for report in reports] == [report.exists() for report in reports]
    monkeypatch.setattr(index, "MOST_BYTES", 8)
    index.remove_old(empty_workspace, [])
    assert [report.exists() for report in reports] == [False] * 5 + [True]


def test_a_header_can_be_exchanged_and_escapes_what_it_shows() -> None:
    made = page.render("pipelines.pages", "pictures.html", Header("line <b>", "Old title"), note="note", rows=[])
    again = page.with_header(
        made, Header("line <b>", "New title", [("gate", r"<script>\1")], [("audit", "audit.html")])
    )
    assert "Old title" not in again.split("<main>")[0].split("</title>")[1]
    assert "New title" in again
    assert r"&lt;script&gt;\1" in again
    assert '<a href="audit.html">audit</a>' in again
    assert again.count("<main>") == 1
