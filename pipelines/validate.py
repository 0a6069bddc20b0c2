"""Hold `data/` against its contract. What fails moves to quarantine with the reason; what is left must suffice to learn."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models import annotation_table
from models.errors import BadData, NotReady
from models.files import write_whole
from models.params import Validate
from models.vocabulary import Split
from pipelines import quarantine
from pipelines.adapters import data_contract
from pipelines.locks import line_lock
from pipelines.quarantine import Quarantined
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class ValidationReport:
    passed: bool
    n_checked: int
    n_valid: int
    failures: tuple[str, ...]  # of the table as a whole
    quarantined: tuple[Quarantined, ...]  # by this run
    annotations_sha256: str  # of the table that is left


def validate(workspace: Workspace) -> ValidationReport:
    """Check every row, quarantine what fails, then check that enough is left.

    Writes `artifacts/validate/report.json`. Raises BadData when the table as a whole does not hold.
    """
    params = workspace.params()
    with line_lock(workspace, params.line, wait_s=600.0):
        rows = annotation_table.load(workspace.annotations).to_pylist()
        if not rows:
            raise BadData(f"There are no images in {workspace.data}.", next_step="defectloop ingest FOLDER")
        _require_files(workspace, rows)
        refused = _quarantine_failing(workspace, rows, data_contract.check_rows(rows, params.validate_))
        left = [row for row in rows if row["image"] not in {entry.image for entry in refused}]
        failures = enough(left, params.validate_)
        report = ValidationReport(
            passed=not failures,
            n_checked=len(rows),
            n_valid=len(left),
            failures=tuple(failures),
            quarantined=tuple(refused),
            annotations_sha256=_sha256(workspace.annotations),
        )
        _write(workspace, report)
    if failures:
        raise BadData(_complaint(failures, refused), next_step=_remedy(left, refused))
    return report


def require_passed(workspace: Workspace) -> None:
    """Raise NotReady unless exactly the present table passed its validation."""
    path = _report_path(workspace)
    if not path.exists():
        raise NotReady("The data has not been validated.", next_step="defectloop validate")
    report = json.loads(path.read_text())
    if not report["passed"] or report["annotations_sha256"] != _sha256(workspace.annotations):
        raise NotReady("The data changed since its last passed validation.", next_step="defectloop validate")


def enough(rows: list[dict[str, Any]], rules: Validate) -> list[str]:
    """What is missing to learn and to test: parts per class and split. Classes are those that occur, and at least two."""
    parts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        parts[(row["label"], row["split"])].add(row["part"])
    labels = sorted({row["label"] for row in rows})
    if len(labels) < 2:
        return [f"only one class ({', '.join(labels) or 'none'}) among {len(rows)} labelled images"]
    wanted = rules.min_parts_per_class
    counts = [
        {"class": label, "split": split.value, "parts": len(parts[(label, split)]), "min_parts": getattr(wanted, split)}
        for label in labels
        for split in Split
    ]
    by_key = {f"{count['class']}/{count['split']}": count for count in counts}
    return [
        f"{key}: {by_key[key]['parts']} parts, {by_key[key]['min_parts']} needed"
        for failure in data_contract.check_counts(counts)
        for key in failure.rows or (failure.reason,)
    ]


def _require_files(workspace: Workspace, rows: list[dict[str, Any]]) -> None:
    missing = [row["file"] for row in rows if not (workspace.data / row["file"]).exists()]
    if missing:
        raise BadData(
            f"{len(missing)} images are annotated but absent (first: data/{missing[0]}).",
            next_step="Bring them back: dvc pull, or ingest their source again.",
        )


def _quarantine_failing(
    workspace: Workspace, rows: list[dict[str, Any]], failures: list[data_contract.Failure]
) -> list[Quarantined]:
    """Copy the failing images to quarantine, then drop their rows, then their files: killed between, nothing is lost."""
    unchecked = [failure.reason for failure in failures if not failure.rows]
    if unchecked:
        raise BadData(f"The data contract {'; '.join(unchecked)}.", next_step="Correct params.yaml, section validate.")
    reasons: dict[str, list[str]] = defaultdict(list)
    for failure in failures:
        for image in failure.rows:
            reasons[image].append(failure.reason)
    failing = [row for row in rows if row["image"] in reasons]
    refused = []
    for row in failing:
        reason = "; ".join(reasons[row["image"]]) + (f" ({row['decode_error']})" if row["decode_error"] else "")
        refused.append(quarantine.put(workspace, row, reason, (workspace.data / row["file"]).read_bytes()))
    if failing:
        kept = [row for row in rows if row["image"] not in reasons]
        annotation_table.save(annotation_table.from_rows(kept), workspace.annotations)
    _drop_unannotated(workspace, {row["file"] for row in rows if row["image"] not in reasons})
    return refused


def _drop_unannotated(workspace: Workspace, files: set[str]) -> None:
    """Files without a row: just quarantined, or left by an ingest that was killed and whose source still has them."""
    for path in (workspace.data / "images").glob("*/*"):
        if path.relative_to(workspace.data).as_posix() not in files:
            path.unlink()


def _complaint(failures: list[str], refused: list[Quarantined]) -> str:
    unlabelled = [entry for entry in refused if "no label" in entry.reason]
    lacking = f" {len(unlabelled)} images lack labels (first: {unlabelled[0].path})." if unlabelled else ""
    return f"Too little to learn from: {'; '.join(failures)}.{lacking}"


def _remedy(left: list[dict[str, Any]], refused: list[Quarantined]) -> str:
    if any("no label" in entry.reason for entry in refused):
        return "Label them (one sub-folder per class, or a manifest's column `label`) and ingest them again."
    labels = {row["label"] for row in left}
    return f"Ingest more {'parts' if len(labels) > 1 else 'parts of the other class'}: defectloop ingest FOLDER"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _report_path(workspace: Workspace) -> Path:
    return workspace.artifacts / "validate" / "report.json"


def _write(workspace: Workspace, report: ValidationReport) -> None:
    write_whole(_report_path(workspace), json.dumps(asdict(report), ensure_ascii=False, indent=1).encode())
