"""The page beside an export counts what happened in the period, and nothing else."""

from __future__ import annotations

import re
import sqlite3
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import pytest

from pipelines.ledger import export, inspections, promotions
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import ImageDeletion, Promotion, Rejection, Review, Withdrawal
from pipelines.period_summary import summary
from tests import pages
from tests.pipelines.ledger.test_ledger import inspection

START = datetime(2026, 3, 1, tzinfo=UTC)
NOON = START + timedelta(hours=12)
MONTH = timedelta(days=31)
LINE = "widgets"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    with Ledger.open(f"sqlite:///{path}") as opened:
        inspections.add(
            opened,
            [
                inspection("1", "A", verdict="pass", view="top", inspected_at=NOON, pass_below=0.25, fail_from=0.75),
                inspection("2", "A", verdict="fail", view="left", inspected_at=NOON, pass_below=0.25, fail_from=0.75),
                inspection("3", "B", verdict="fail", view="top", inspected_at=NOON, image="1"),
                inspection("4", "B", verdict="pass", view="top", inspected_at=NOON, image="2"),
                inspection("5", "C", verdict="pass", inspected_at=NOON, model_version="2"),
                inspection("6", "C", verdict="fail", inspected_at=NOON + MONTH),
                inspection("7", "D", verdict="fail", inspected_at=START - timedelta(microseconds=1)),
                inspection("8", "E", verdict="fail", inspected_at=NOON, line="another"),
            ],
        )
        promotions.add(
            opened,
            Promotion(
                line=LINE, kind="refuse", version="3", champion_before="2", reasons=["escape rate <0.04> > 0.02"],
                numbers={}, state="done", decided_at=NOON,
            ),
        )  # fmt: skip
        with opened.writing() as session:
            rollback = Promotion(line=LINE, kind="rollback", version="1", champion_before="2", reasons=["lamp"], numbers={},
                                 state="done", decided_at=NOON)  # fmt: skip
            session.add(rollback)
            session.flush()
            withdrawn = Withdrawal(line=LINE, version="2", artefact_sha256=None, reason="a lamp broke", withdrawn_by="QA",
                                   withdrawn_at=NOON)  # fmt: skip
            withdrawn.promotion_id = rollback.id
            session.add_all([
                withdrawn,
                Rejection(request_id="q", line=LINE, part="p", source="s", image="cc", reason="cut off", rejected_at=NOON),
                *(Review(line=LINE, part=f"{label}", campaign_id=None, inspection_id=1, label=label, reviewer="lab",
                         comment=None, reviewed_at=NOON, answer="label" if label else "cant_say")
                  for label in ("good", "defect", None)),
                ImageDeletion(line=LINE, image="1", rule="pass: 30 days", bytes=2_500_000, decided_by="cron@station",
                              decided_at=NOON, state="deleted", done_at=NOON),
            ])  # fmt: skip
    return path


def written(path: Path, folder: Path) -> Path:
    with Ledger.open(f"sqlite:///{path}") as opened:
        return summary.write(opened, export.export(opened, LINE, START, START + MONTH, folder), folder)


def rows(page: Path, title: str) -> list[list[str]]:
    """The cells of the first table below a title."""
    section = page.read_text().split(f">{title}</h")[1].split("</table>")[0]
    cells = [
        re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr>.*?</tr>", section, re.DOTALL)
    ]
    return [[unescape(re.sub("<[^>]+>", " ", cell)).strip() for cell in row] for row in cells if row]


def test_the_page_counts_parts_models_decisions_reviews_and_deletions_of_the_period(
    ledger: Path, tmp_path: Path
) -> None:
    page = written(ledger, tmp_path / "audit")
    assert "Inspections from 2026-03-01 to 2026-03-31" in page.read_text()
    assert rows(page, "Parts and verdicts") == [
        ["pass", "2", "66.7 %"],
        ["review", "0", "0.0 %"],
        ["fail", "1", "33.3 %"],
        ["all", "3", ""],
    ]
    models = rows(page, "Models and thresholds in use")
    assert [(row[0], *row[4:]) for row in models] == [
        ("1", "not recorded", "not recorded", "2", "1"),
        ("1", "0.250", "0.750", "2", "1"),
        ("2", "not recorded", "not recorded", "1", "1"),
    ]
    decisions = rows(page, "Decisions about versions")
    assert [row[1] for row in decisions] == ["3", "1"]
    assert "refused" in decisions[0][2]
    assert decisions[0][3] == "escape rate <0.04> > 0.02"
    assert rows(page, "Withdrawn versions")[0][1:] == ["2", "a lamp broke", "QA", "no"]
    assert rows(page, "Reviews by people") == [["lab", "3", "1", "1", "1", "0"]]
    assert rows(page, "Images that could not be inspected") == [["cut off", "1"]]
    assert rows(page, "Images deleted under retention") == [["pass: 30 days", "cron@station", "1", "2.5"]]
    assert "The records verify" in page.read_text()


def test_the_page_says_that_the_records_do_not_verify(ledger: Path, tmp_path: Path) -> None:
    with sqlite3.connect(ledger) as forged:
        forged.execute("UPDATE inspections SET verdict = 'pass' WHERE request_id = '2'")
    text = written(ledger, tmp_path / "audit").read_text()
    assert "The records do not verify" in text
    assert "Row 2 of inspections was altered" in text


def test_the_page_of_an_empty_period_and_a_full_one_hold_to_the_common_shape(ledger: Path, tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'empty.db'}"):
        pass
    for name, path in (("full", ledger), ("empty", tmp_path / "empty.db")):
        assert pages.faults(written(path, tmp_path / name)) == []


@pytest.mark.slow
@pytest.mark.skipif(pages.CHROMIUM is None, reason=pages.NO_CHROMIUM)
def test_the_page_fits_a_telephone(ledger: Path, tmp_path: Path) -> None:
    assert pages.width(written(ledger, tmp_path / "audit"), tmp_path) <= 400
