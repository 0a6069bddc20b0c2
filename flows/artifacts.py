"""Prefect artifacts of the flow runs: numbers and pictures themselves, as Markdown.

No `file://` links: browsers refuse them on a page that came over HTTP. Reports are opened with `defectloop ui`; a run on an
MLflow server is linked.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact

from pipelines.adapters import tracking
from pipelines.adapters.model_registry import ModelVersion
from pipelines.amounts import image_count
from pipelines.inspection.predict import ReplayReport
from pipelines.ledger.tables import DriftCheck
from pipelines.promotion.gate import Decision
from pipelines.promotion.model_table import model_rows
from pipelines.validation import validate
from pipelines.workspace import Workspace

MOST_ROWS = 100
FIGURES = {
    "confusion": "Verdicts by ground truth",
    "curves": "ROC by slice",
    "precision_recall": "Precision and recall by slice",
}


def decided(version: str, decision: Decision) -> str:
    """Describe the gate's decision in one sentence."""
    verdict = "promoted" if decision.promote else "left waiting" if decision.waits else "refused"
    return f"Version {version} was {verdict}: {'; '.join(decision.reasons)}"


def comparison(workspace: Workspace, version: ModelVersion, decision: Decision) -> None:
    """Show the gate's decision, the versions on the same test parts, and the figures of the new one."""
    evaluated = workspace.artifacts / "evaluate"
    parts = [decided(version.version, decision), table(model_rows(decision.numbers))]
    parts += [picture(title, evaluated / "figures" / f"{name}.png") for name, title in FIGURES.items()]
    if tracking.is_server(workspace.tracking_uri):
        page = tracking.run_page(workspace, workspace.tracking_uri, version.mlflow_run_id)
        parts.append(f"[The run in MLflow]({page})")
    else:
        parts.append("Report and run: `defectloop ui`")
    create_markdown_artifact("\n\n".join(filter(None, parts)), key="model-comparison", description="Model comparison")


def validation(workspace: Workspace) -> None:
    """Show the result of the last validation, passed or not."""
    report = validate.last_report(workspace)
    if report is None:
        return
    rows = [_row("critical", "dataset", failure) for failure in report["failures"]]
    rows += [_row("critical", entry["path"], entry["reason"]) for entry in report["quarantined"]]
    for warning in report["warnings"]:
        concerns = f"{warning['n_images']} images" if warning["n_images"] else "dataset"
        rows.append(_row("warning", concerns, warning["reason"]))
    rows += [_row("audit", "dataset", finding) for finding in report["audit"]]
    valid = f"{report['n_valid']} of {image_count(report['n_checked'], report['n_synthetic'])} valid"
    parts = [f"{valid}; typical ranges from {report['typical']['origin']}.", table(rows) or "Nothing was found."]
    pages = [
        title for title, page in (("Data Docs", report["docs"]), ("audit with pictures", report["audit_page"])) if page
    ]
    if pages:
        parts.append(f"{' and '.join(pages)}: `defectloop ui`")
    create_markdown_artifact("\n\n".join(parts), key="validation", description="Data validation")


def _row(severity: str, concerns: str, reason: str) -> dict[str, str]:
    return {"severity": severity, "concerns": concerns, "reason": reason}


def drift(check: DriftCheck) -> None:
    """Show a drift check: the finding, and each descriptor's median in the reference and now, the largest shift first."""
    by_size = sorted(check.columns.items(), key=lambda column: -abs(column[1]["shift"]))
    rows = [
        {
            "descriptor": name,
            "reference": f"{numbers['reference']:.3g}",
            "now": f"{numbers['current']:.3g}",
            "shift (spreads)": f"{numbers['shift']:+.1f}",
            "p-value": f"{numbers['p_value']:.1g}",
            "drifted": "yes" if numbers["drifted"] else "no",
        }
        for name, numbers in by_size
    ]
    where = f"Line {check.line}, version {check.model_version}: {check.n} parts, {check.n_reference} in the reference."
    parts = [
        check.explanation,
        where,
        table(rows),
        "Report with distributions: `defectloop ui`" if check.report else "",
    ]
    create_markdown_artifact("\n\n".join(filter(None, parts)), key="drift-check", description="Drift check")


def inspected(report: ReplayReport) -> str:
    """Describe a batch inspection in one sentence."""
    counts = ", ".join(f"{n} {verdict}" for verdict, n in report.verdicts.items())
    return f"{report.inspected} images inspected ({counts}), {report.already_known} inspected before"


def inspection(report: ReplayReport) -> None:
    rows = [{"verdict": verdict, "parts": n} for verdict, n in report.verdicts.items()]
    text = f"{inspected(report)}.\n\n{table(rows)}"
    create_markdown_artifact(text, key="batch-inspection", description="Batch inspection")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a Markdown table; of a long one, the first rows and the number of the others."""
    if not rows:
        return ""
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([_cell(row[name]) for name in names] for row in rows[:MOST_ROWS])]
    left = len(rows) - MOST_ROWS
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + (f"\n\n… and {left} more." if left > 0 else "")


def _cell(value: object) -> str:
    """Return a value as text that neither ends the cell nor is read as markup."""
    text = " ".join(str(value).split())
    for special in "\\|`*_<>[]":
        text = text.replace(special, f"\\{special}")
    return text


def picture(title: str, path: Path) -> str:
    """Return a PNG as an image inside the Markdown, or nothing if there is none."""
    if not path.is_file():
        return ""
    return f"![{title}](data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()})"
