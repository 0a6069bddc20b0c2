"""What a flow run shows in Prefect's UI: tables of numbers and links to reports."""

from __future__ import annotations

from pathlib import Path

from prefect.artifacts import create_link_artifact, create_table_artifact

from pipelines.amounts import of_them
from pipelines.gate import Decision
from pipelines.ledger.tables import DriftCheck
from pipelines.model_table import model_rows
from pipelines.predict import ReplayReport
from pipelines.validate import ValidationReport
from pipelines.workspace import Workspace


def metrics_table(workspace: Workspace, version: str, decision: Decision) -> None:
    verdict = "promoted" if decision.promote else "refused"
    create_table_artifact(
        key="model-comparison",
        table=model_rows(decision.numbers),
        description=f"Version {version} was {verdict}: {'; '.join(decision.reasons)}",
    )


def validation(workspace: Workspace, report: ValidationReport) -> None:
    """What validation came to, with links to the Data Docs and to the audit's pictures."""
    rows = [{"says": "critical", "what": entry.path, "why": entry.reason} for entry in report.quarantined[:100]]
    rows += [{"says": "warning", "what": f"{one.n_images} images", "why": one.reason} for one in report.warnings]
    rows += [{"says": "audit", "what": "dataset", "why": one} for one in report.audit]
    checked = of_them(report.n_checked, report.n_synthetic)
    create_table_artifact(
        key="validation",
        table=rows,
        description=f"{report.n_valid} of {checked} hold; usual looks from {report.looks.origin}",
    )
    report_link(workspace, "data-docs", workspace.root / report.docs)
    report_link(workspace, "audit", workspace.root / report.audit_page)


def drift_table(check: DriftCheck) -> None:
    create_table_artifact(
        key="drift-check",
        table=[{"descriptor": name, **numbers} for name, numbers in check.columns.items()],
        description=check.explanation,
    )


def inspection_table(report: ReplayReport) -> None:
    create_table_artifact(
        key="batch-inspection", table=[{"verdict": k, "images": n} for k, n in report.verdicts.items()]
    )


def report_link(workspace: Workspace, key: str, path: Path) -> None:
    create_link_artifact(key=key, link=path.resolve().as_uri(), description=f"Line {workspace.params().line}")
