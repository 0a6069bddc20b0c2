"""Adapts Great Expectations' Data Docs: adds a readable first page and makes the site work offline.

As generated, they load styles, scripts and icons from six hosts, the first page is empty without a network, and every build
contains 4 MB of animations that explain the tool.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.pages import page
from pipelines.pages.page import Header

if TYPE_CHECKING:
    from pipelines.adapters.data_contract import Outcome
    from pipelines.validation.typical_ranges import TypicalRanges

EXAMPLES = 5
REMOVED = (
    r"<script\b.*?</script>",
    r"<link\b[^>]*>",
    r'<img\b[^>]*src="https?://[^>]*>',
    r"<footer\b.*?</footer>",
    r"url\('https?://[^']*'\)[^;]*",
    r"<span[^>]*>Expectation Suite:</span>.*?<br>",  # links to a page that does not exist
    r'<label class="btn[^>]*onclick=.*?</label>',  # buttons that need the removed scripts
)
# The pages need no scripts, so none may run, whatever a data value contains.
POLICY = """<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:">
"""
STYLE = """<style>
  body { font: 15px/1.5 system-ui, sans-serif; color: #264653; margin: 2rem auto; max-width: 70rem; padding: 0 1.25rem; }
  nav.navbar { height: auto !important; border: 0; } nav.navbar .navbar-brand a::before { content: "‹ Data contract"; }
  .ge-breadcrumbs, .card, [data-toggle="collapse"] { display: none; } table { border-collapse: collapse; width: 100%; }
  td, th { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #e5e9ec; }
  .fa-check-circle::before { content: "passed";  color: #2a7f62; font-style: normal; }
  td .fa-times::before, td .fa-exclamation-triangle::before { content: "failed"; color: #d1495b; font-style: normal; }
  h1, h2, h3, h4, h5 { font-size: 1.1rem; margin: 1.5rem 0 .5rem; }
</style>"""


def finish(
    folder: Path, *, line: str, summary: str, rules: Sequence[Mapping[str, Any]], typical: TypicalRanges
) -> Path:
    """Adapt the generated site in `folder`. Returns its first page."""
    for made in folder.rglob("*.html"):
        made.write_text(self_contained(made.read_text()))
    shutil.rmtree(folder / "static", ignore_errors=True)
    results = {made.parts[len(folder.parts) + 1]: made for made in folder.glob("validations/*/*/*/*.html")}
    html = page.render(
        "pipelines.pages",
        "contract.html",
        Header(line, "Data contract", links=[("dataset audit", "../../audit/report.html")]),
        summary=summary,
        rules=rules,
        typical=typical,
        pages={name: made.relative_to(folder).as_posix() for name, made in sorted(results.items())},
    )
    (folder / "index.html").write_text(html)
    return folder / "index.html"


def self_contained(html: str) -> str:
    """Return the page without resources from other hosts, with a plain style."""
    for pattern in REMOVED:
        html = re.sub(pattern, "", html, flags=re.DOTALL)
    return html.replace("<head>", f"<head>{POLICY}", 1).replace("</head>", f"{STYLE}</head>", 1)


def shown(outcomes: Sequence[Outcome], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return one row per rule, failed rules first. All typical ranges that hold are summarised in one row."""
    rows = [_row(one, names) for one in outcomes if one.rule != "typical_range" or not one.holds]
    judged = [one for one in outcomes if one.rule == "typical_range"]
    if judged and all(one.holds for one in judged):
        rows.append(_row(judged[0], names) | {"asks": "every image lies in the typical range of its slice"})
    return sorted(rows, key=lambda row: (row["holds"], row["severity"] != "critical"))


def _row(one: Outcome, names: Mapping[str, str]) -> dict[str, Any]:
    n = len(one.rows)
    went = "in quarantine" if one.severity == "critical" else "reported"
    outcome = f"{n} image{'' if n == 1 else 's'}, {went}" if n else one.reason
    return {
        "severity": one.severity,
        "asks": one.asks,
        "holds": one.holds,
        "outcome": "passed" if one.holds else outcome,
        "examples": [names[image] for image in one.rows[:EXAMPLES]],
    }
