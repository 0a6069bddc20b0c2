"""What a flow run shows in Prefect's UI: tables of numbers and links to reports."""

from __future__ import annotations

from pathlib import Path

from prefect.artifacts import create_link_artifact, create_table_artifact

from pipelines.amounts import of_them
from pipelines.inspection.predict import ReplayReport
from pipelines.ledger.tables import DriftCheck
from pipelines.promotion.gate import Decision
from pipelines.promotion.model_table import model_rows
from pipelines.validation import validate
from pipelines.workspace import Workspace


def metrics_table(workspace: Workspace, version: str, decision: Decision) -> None:
    verdict = "promoted" if decision.promote else "refused"
    create_table_artifact(
        key="model-comparison",
        table=model_rows(decision.numbers),
        description=f"Version {version} was {verdict}: {'; '.join(decision.reasons)}",
    )


def validation(workspace: Workspace) -> None:
    """What the last validation came to, passed or not, with links to the Data Docs and to the audit's pictures."""
    report = validate.last_report(workspace)
    if report is None:
        return
    rows = [{"says": "critical", "what": "dataset", "why": why} for why in report["failures"]]
    rows += [{"says": "critical", "what": one["path"], "why": one["reason"]} for one in report["quarantined"][:100]]
    rows += [
        {"says": "warning", "what": f"{one['n_images']} images" if one["n_images"] else "dataset", "why": one["reason"]}
        for one in report["warnings"]
    ]
    rows += [{"says": "audit", "what": "dataset", "why": one} for one in report["audit"]]
    holding = f"{report['n_valid']} of {of_them(report['n_checked'], report['n_synthetic'])} hold"
    create_table_artifact(
        key="validation", table=rows, description=f"{holding}; typical ranges from {report['typical']['origin']}"
    )
    for key, page in (("data-docs", report["docs"]), ("audit", report["audit_page"])):
        if page:
            report_link(workspace, key, workspace.root / page)


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
