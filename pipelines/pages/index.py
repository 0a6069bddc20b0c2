"""The reports of a workspace in one folder, `reports/` in its state: their paths, the links between them, and `index.html`.

An automation clone shares the folder with its owner. Old reports are removed (`remove_old`), as drift reports are large.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from models.files import write_whole
from pipelines.ledger import drift_checks, promotions, requests
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Promotion
from pipelines.pages import page
from pipelines.pages.page import Header
from pipelines.workspace import Workspace

MOST_REPORTS = 60  # drift reports and comparisons
MOST_BYTES = 200_000_000  # of these, with Evidently's pages
DETAIL = "-evidently.html"  # ends the name of Evidently's page beside a drift report
DECIDED = {
    "promote": "promoted",
    "refuse": "refused",
    "rollback": "rolled back to",
    promotions.WAIT: "waits for a person",
}


def folder(workspace: Workspace) -> Path:
    return workspace.state / "reports"


def index_page(workspace: Workspace) -> Path:
    return folder(workspace) / "index.html"


def version_page(workspace: Workspace, number: str) -> Path:
    return folder(workspace) / "versions" / f"v{number}.html"


def comparison_page(workspace: Workspace, first: str, second: str) -> Path:
    return folder(workspace) / "compare" / f"{first}-{second}.html"


def drift_page(workspace: Workspace, version: str, last_inspection: int) -> Path:
    return folder(workspace) / "drift" / f"v{version}-{last_inspection}.html"


def links(workspace: Workspace, origin: Path, version: str | None = None) -> list[tuple[str, str]]:
    """Return (words, target relative to the page `origin`) of the other reports that exist, each kind's latest."""
    inside = folder(workspace) in origin.parents  # whoever writes these also writes the index
    found: list[tuple[str, Path | None]] = [("all reports", index_page(workspace))]
    if version is not None:
        found.append(("model card", version_page(workspace, version).with_name(f"v{version}-card.md")))
    found += [
        ("evaluation", _latest(folder(workspace) / "versions")),
        ("comparison", _latest(folder(workspace) / "compare")),
        ("drift", _latest(folder(workspace) / "drift")),
        ("dataset audit", workspace.artifacts / "audit" / "report.html"),
        ("data contract", workspace.artifacts / "validate" / "data_docs" / "index.html"),
    ]
    return [
        (words, relative(path, origin))
        for words, path in found
        if path is not None and path != origin and (path.exists() or (path == index_page(workspace) and inside))
    ]


def relative(target: Path, origin: Path) -> str:
    return Path(os.path.relpath(target, origin.parent)).as_posix()


def write(workspace: Workspace) -> Path:
    """Remove old reports and write `index.html`: decisions about versions, drift checks, comparisons, data."""
    line, origin = workspace.params().line, index_page(workspace)
    with Ledger.open(workspace.ledger_url) as ledger:
        decisions, checks = promotions.all_of(ledger, line), drift_checks.all_of(ledger, line)
        asked = {item.event_id for item in requests.all_of(ledger, line) if item.state == "promoted"}
    reports = {check.id: Path(check.report) for check in checks if check.report}
    referred = [
        reports[check.id] for check in checks if check.id in reports and check.event_id and check.event_id in asked
    ]
    remove_old(workspace, referred)
    html = page.render(
        "pipelines.pages",
        "index.html",
        Header(line, "Reports", facts=_facts(decisions), links=links(workspace, origin)),
        decisions=[_decision(workspace, origin, one) for one in reversed(decisions)],
        checks=[
            (one, relative(reports[one.id], origin) if one.id in reports and reports[one.id].exists() else None)
            for one in reversed(checks)
        ],
        comparisons=[
            (path.stem.split("-"), relative(path, origin))
            for path in sorted((folder(workspace) / "compare").glob("*.html"), key=_modified, reverse=True)
        ],
        most=MOST_REPORTS,
    )
    write_whole(origin, html.encode())
    return origin


def remove_old(workspace: Workspace, referred: Collection[Path]) -> None:
    """Remove the oldest drift reports and comparisons beyond the limits, except those in `referred`, to which a promotion
    refers. An Evidently page is removed with its report."""
    pages = [path for name in ("drift", "compare") for path in (folder(workspace) / name).glob("*.html")]
    kept = sorted((path for path in pages if not path.name.endswith(DETAIL)), key=_modified)
    size = sum(path.stat().st_size for path in pages)
    for path in list(kept):
        if len(kept) <= MOST_REPORTS and size <= MOST_BYTES:
            return
        if path in referred or path is kept[-1]:
            continue
        for one in (path, detail_of(path)):
            size -= one.stat().st_size if one.exists() else 0
            one.unlink(missing_ok=True)
        kept.remove(path)


def detail_of(report: Path) -> Path:
    """Return the path of Evidently's page of a drift report."""
    return report.with_name(f"{report.stem}{DETAIL}")


def _facts(decisions: list[Promotion]) -> list[tuple[str, str]]:
    made = [one for one in decisions if one.kind in promotions.CHANGES and one.state == "done"]
    return [("champion", f"version {made[-1].version}, since {made[-1].decided_at:%Y-%m-%d %H:%M} UTC")] if made else []


def _decision(workspace: Workspace, origin: Path, one: Promotion) -> dict[str, object]:
    report = version_page(workspace, one.version)
    return {
        "version": one.version,
        "what": DECIDED[one.kind],
        "at": f"{one.decided_at:%Y-%m-%d %H:%M} UTC",
        "reasons": one.reasons,
        "report": relative(report, origin) if report.exists() else None,
    }


def _latest(of: Path) -> Path | None:
    pages = [path for path in of.glob("*.html") if not path.name.endswith(DETAIL)]
    return max(pages, key=_modified, default=None)


def _modified(path: Path) -> float:
    return path.stat().st_mtime
