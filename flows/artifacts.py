"""Prefect artifacts of the flow runs: tables of numbers and links to reports."""

from __future__ import annotations

from pathlib import Path

from prefect.artifacts import create_link_artifact, create_table_artifact

from pipelines.amounts import image_count
from pipelines.inspection.predict import ReplayReport
from pipelines.ledger.tables import DriftCheck
from pipelines.promotion.gate import Decision
from pipelines.promotion.model_table import model_rows
from pipelines.validation import validate
from pipelines.workspace import Workspace


def metrics_table(workspace: Workspace, version: str, decision: Decision) -> None:
    verdict = "promoted" if decision.promote else "left waiting" if decision.waits else "refused"
    create_table_artifact(
        key="model-comparison",
        table=model_rows(decision.numbers),
        description=f"Version {version} was {verdict}: {'; '.join(decision.reasons)}",
    )


def validation(workspace: Workspace) -> None:
    """Show the result of the last validation, passed or not, with links to the Data Docs and the audit page."""
    report = validate.last_report(workspace)
    if report is None:
        return
    rows = [_row("critical", "dataset", failure) for failure in report["failures"]]
    rows += [_row("critical", entry["path"], entry["reason"]) for entry in report["quarantined"][:100]]
    for warning in report["warnings"]:
        concerns = f"{warning['n_images']} images" if warning["n_images"] else "dataset"
        rows.append(_row("warning", concerns, warning["reason"]))
    rows += [_row("audit", "dataset", finding) for finding in report["audit"]]
    valid = f"{report['n_valid']} of {image_count(report['n_checked'], report['n_synthetic'])} valid"
    create_table_artifact(
        key="validation", table=rows, description=f"{valid}; typical ranges from {report['typical']['origin']}"
    )
    for key, page in (("data-docs", report["docs"]), ("audit", report["audit_page"])):
        if page:
            report_link(workspace, key, workspace.root / page)


def _row(severity: str, concerns: str, reason: str) -> dict[str, str]:
    return {"severity": severity, "concerns": concerns, "reason": reason}


def drift_table(check: DriftCheck) -> None:
    create_table_artifact(
        key="drift-check",
        table=[{"descriptor": name, **numbers} for name, numbers in check.columns.items()],
        description=check.explanation,
    )


def inspection_table(report: ReplayReport) -> None:
    create_table_artifact(
        key="batch-inspection", table=[{"verdict": k, "parts": n} for k, n in report.verdicts.items()]
    )


def report_link(workspace: Workspace, key: str, path: Path) -> None:
    create_link_artifact(key=key, link=path.resolve().as_uri(), description=f"Line {workspace.params().line}")
