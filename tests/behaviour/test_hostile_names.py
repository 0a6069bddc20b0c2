"""Names are free for people: what a file, slice or labeller is called never becomes markup on a page."""

from __future__ import annotations

import csv
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dataset import annotation_table
from models.errors import BadData
from pipelines.ingest import ingest
from pipelines.pages.markdown import inline
from pipelines.pages.page import SCRIPTS
from pipelines.snapshots import data_card
from pipelines.validation.validate import validate
from pipelines.workspace import Workspace
from tests.conftest import picture

SCRIPT = "<img src=x onerror=alert(1)>"
POLICY = "default-src 'none'"


class Markup(HTMLParser):
    """What a browser would run, and whether the page forbids it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.runs: list[str] = []
        self.policy = self.in_script = False
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.policy |= tag == "meta" and POLICY in str(dict(attrs).get("content"))
        self.in_script = tag == "script" and dict(attrs).get("type") != "application/json"
        if tag in ("iframe", "object") or any(name.startswith("on") for name, _ in attrs):
            self.runs.append(self.get_starttag_text() or tag)

    def handle_data(self, data: str) -> None:
        if self.in_script and data.strip() and data not in SCRIPTS.values():
            self.runs.append(data)


def hostile_delivery(folder: Path) -> Path:
    """Ten parts whose names, defect types, labellers and slices hold markup, two of them without a label."""
    folder.mkdir()
    with (folder / "manifest.csv").open("w", newline="") as sink:
        rows = csv.writer(sink)
        rows.writerow(["path", "label", "defect_types", "part", "slice", "labelled_by"])
        for number in range(10):
            name = f"{SCRIPT}{number}.png"
            (folder / name).write_bytes(picture(number, defective=number % 2 == 0))
            label = ("defect", "good")[number % 2] if number < 8 else ""
            kind = SCRIPT if label == "defect" else ""
            rows.writerow([name, label, kind, f"part{number}", f"matt{SCRIPT}", f"lab{SCRIPT}"])
        (folder / f"{SCRIPT}cut.png").write_bytes(picture(99, defective=True)[:200])
        rows.writerow([f"{SCRIPT}cut.png", "good", "", "cut", "matt", "lab"])
    return folder / "manifest.csv"


def test_no_page_of_a_validation_runs_what_a_file_is_called(empty_workspace: Workspace, tmp_path: Path) -> None:
    ingest.ingest(empty_workspace, str(hostile_delivery(tmp_path / "delivery")))
    with pytest.raises(BadData):
        validate(empty_workspace)
    pages = list((empty_workspace.root / "artifacts").rglob("*.html"))
    documentation = [page for page in pages if "data_docs" in page.parts]
    assert any("onerror" in page.read_text() for page in documentation), "the hostile names are on the pages, as text"
    assert {page.name: Markup(page).runs for page in pages if Markup(page).runs} == {}
    assert all(Markup(page).policy for page in pages)


def test_a_data_card_shows_hostile_names_as_text(empty_workspace: Workspace, tmp_path: Path) -> None:
    ingest.ingest(empty_workspace, str(hostile_delivery(tmp_path / "delivery")))
    table = annotation_table.load(empty_workspace.annotations)
    card = data_card.render("widgets", table, [f"{SCRIPT}: no label"], [f"odd: {SCRIPT} | `x`"])
    assert "<img" not in card
    assert "&lt;img src=x onerror=alert(1)&gt;" in card
    assert r"\| \`x\`" in card


@given(st.text())
def test_inline_markdown_is_one_line_without_markup(text: str) -> None:
    line = inline(text)
    assert not set(line) & set("<>\n")
    assert line.count("|") == line.count("\\|")
