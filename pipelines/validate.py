"""Hold `data/` against its contract. What fails moves to quarantine with the reason; what is left must suffice to learn."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import compute

from models import annotation_table
from models.errors import BadData, NotReady
from models.files import write_whole
from models.params import PartsPerClass
from models.usual import LOOKS
from models.vocabulary import Split
from pipelines import learned_looks, quarantine
from pipelines.adapters.data_contract import Contract, Failure
from pipelines.audit import audit
from pipelines.learned_looks import LearnedLooks
from pipelines.locks import line_lock
from pipelines.quarantine import Quarantined
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Warned:
    """A rule of severity warning that some images break; they stay."""

    reason: str
    n_images: int
    examples: tuple[str, ...]  # delivery paths, at most five


@dataclass(frozen=True)
class ValidationReport:
    passed: bool
    n_checked: int
    n_valid: int
    n_synthetic: int  # of the checked ones; they count for no minimum
    failures: tuple[str, ...]  # of the table as a whole, critical
    warnings: tuple[Warned, ...]
    quarantined: tuple[Quarantined, ...]  # by this run
    looks: LearnedLooks
    audit: tuple[str, ...]  # "severity: title" of what looking at the whole dataset found
    docs: str  # Data Docs and the audit's page, below the workspace
    audit_page: str
    annotations_sha256: str  # of the table that is left


def validate(workspace: Workspace) -> ValidationReport:
    """Check every row, quarantine what fails, check that enough is left, and audit that.

    Writes `artifacts/validate/report.json` and Data Docs beside it. Raises BadData when the table as a whole does not hold.
    """
    params = workspace.params()
    with line_lock(workspace, params.line, wait_s=600.0):
        table = annotation_table.load(workspace.annotations)
        if not len(table):
            raise BadData(f"There are no images in {workspace.data}.", next_step="defectloop ingest FOLDER")
        _require_files(workspace, table)
        contract = Contract(params.validate_)
        looks = learned_looks.learned(workspace, table, params.validate_.looks_reach)
        of_images = contract.check_images(_frame(table), looks.ranges)
        left, refused = _quarantine_failing(workspace, table, [one for one in of_images if one.severity == "critical"])
        of_dataset = enough(left, params.validate_.min_parts_per_class, contract)
        docs = contract.write_docs(workspace.artifacts / "validate" / "data_docs")
        failures = [one.reason for one in of_dataset if one.severity == "critical"]
        warnings = [one for one in (*of_images, *of_dataset) if one.severity == "warning"]
        looked = audit.audit(workspace) if len(left) else None
        report = ValidationReport(
            passed=not failures,
            n_checked=len(table),
            n_valid=len(left),
            n_synthetic=table.filter(table["synthetic"]).num_rows,
            failures=tuple(failures),
            warnings=tuple(_warned(left, warnings)),
            quarantined=tuple(refused),
            looks=looks,
            audit=tuple(f"{one.severity}: {one.title}" for one in looked.findings) if looked else (),
            docs=docs.relative_to(workspace.root).as_posix(),
            audit_page=looked.page if looked else "",
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


def enough(table: pa.Table, wanted: PartsPerClass, contract: Contract) -> list[Failure]:
    """What is missing to learn and to test: parts per class and split, and young labels. Synthetic images don't count."""
    import pandas as pd

    real = table.filter(compute.invert(table["synthetic"]))
    labels = sorted(real["label"].unique().to_pylist())
    if len(labels) < 2:
        only = f"only one class ({', '.join(labels) or 'none'}) among {len(real)} labelled images"
        return [Failure("parts_per_class", "critical", only, ())]
    parts = real.select(["label", "split", "part"]).to_pandas().groupby(["label", "split"])["part"].nunique()
    counts = pd.DataFrame(
        {
            "key": f"{label}/{split}",
            "class": label,
            "split": split.value,
            "parts": int(parts.get((label, split.value), 0)),
            "needed": getattr(wanted, split),
        }
        for label in labels
        for split in Split
    )
    counts["missing"] = counts["needed"] - counts["parts"]
    said = {
        row["key"]: f"{row['key']}: {row['parts']} parts, {row['needed']} needed" for row in counts.to_dict("records")
    }
    found = []
    for failure in contract.check_dataset(counts, _age_days(real["labelled_at"].to_pylist())):
        reasons = [said[key] for key in failure.rows if key in said] or [failure.reason]
        found += [Failure(failure.rule, failure.severity, reason, ()) for reason in reasons]
    return found


def _frame(table: pa.Table) -> pd.DataFrame:
    """The columns that the contract asks about; texts as objects, so that what is not said is None."""
    import pandas as pd

    columns = [
        "image",
        "slice",
        "decode_error",
        "label",
        "labelled_by",
        "width_px",
        "height_px",
        "bit_depth",
        "accepted_by",
    ]
    frame = table.select([*columns, *LOOKS]).to_pandas()
    now = datetime.now(UTC)
    frame["label_age_days"] = pd.Series(
        [_days_since(moment, now) for moment in table["labelled_at"].to_pylist()], dtype=float
    )
    return frame


def _days_since(moment: str | None, now: datetime) -> float | None:
    """None for what nobody said and for what is no ISO 8601."""
    try:
        said = datetime.fromisoformat(moment or "")
    except ValueError:
        return None
    return (now - (said if said.tzinfo else said.replace(tzinfo=UTC))).total_seconds() / 86400


def _age_days(moments: Sequence[str | None]) -> float | None:
    now = datetime.now(UTC)
    ages = [age for age in (_days_since(moment, now) for moment in set(moments)) if age is not None]
    return min(ages, default=None)


def _require_files(workspace: Workspace, table: pa.Table) -> None:
    missing = [file for file in table["file"].to_pylist() if not (workspace.data / file).exists()]
    if missing:
        raise BadData(
            f"{len(missing)} images are annotated but absent (first: data/{missing[0]}).",
            next_step="Bring them back: dvc pull, or ingest their source again.",
        )


def _quarantine_failing(
    workspace: Workspace, table: pa.Table, failures: list[Failure]
) -> tuple[pa.Table, list[Quarantined]]:
    """What is left, and what went. Copies to quarantine, then drops rows, then files: killed between, nothing is lost."""
    unchecked = [failure.reason for failure in failures if not failure.rows]
    if unchecked:
        raise BadData(f"The data contract {'; '.join(unchecked)}.", next_step="Correct params.yaml, section validate.")
    reasons: dict[str, list[str]] = defaultdict(list)
    for failure in failures:
        for image in failure.rows:
            reasons[image].append(failure.reason)
    fails = compute.is_in(table["image"], pa.array(list(reasons), pa.string()))
    refused = []
    for row in table.filter(fails).to_pylist():
        reason = "; ".join(reasons[row["image"]]) + (f" ({row['decode_error']})" if row["decode_error"] else "")
        refused.append(quarantine.put(workspace, row, reason, (workspace.data / row["file"]).read_bytes()))
    left = table.filter(compute.invert(fails))
    if refused:
        annotation_table.save(left, workspace.annotations)
    _drop_unannotated(workspace, set(left["file"].to_pylist()))
    return left, refused


def _warned(table: pa.Table, failures: list[Failure]) -> list[Warned]:
    paths = dict(zip(table["image"].to_pylist(), _paths(table), strict=True))
    found = []
    for failure in failures:
        kept = [image for image in failure.rows if image in paths]
        if kept or not failure.rows:
            found.append(Warned(failure.reason, len(kept), tuple(paths[image] for image in kept[:5])))
    return found


def _paths(table: pa.Table) -> list[str]:
    names = zip(table["source"].to_pylist(), table["source_path"].to_pylist(), strict=True)
    return [f"{source}/{name}" for source, name in names]


def _drop_unannotated(workspace: Workspace, files: set[str]) -> None:
    """Files without a row: just quarantined, or left by an ingest that was killed and whose source still has them."""
    for path in (workspace.data / "images").glob("*/*"):
        if path.relative_to(workspace.data).as_posix() not in files:
            path.unlink()


def _complaint(failures: list[str], refused: list[Quarantined]) -> str:
    unlabelled = [entry for entry in refused if "no label" in entry.reason]
    lacking = f" {len(unlabelled)} images lack labels (first: {unlabelled[0].path})." if unlabelled else ""
    return f"Too little to learn from: {'; '.join(failures)}.{lacking}"


def _remedy(left: pa.Table, refused: list[Quarantined]) -> str:
    if any("no label" in entry.reason for entry in refused):
        return "Label them (one sub-folder per class, or a manifest's column `label`) and ingest them again."
    labels = left["label"].unique()
    return f"Ingest more {'parts' if len(labels) > 1 else 'parts of the other class'}: defectloop ingest FOLDER"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _report_path(workspace: Workspace) -> Path:
    return workspace.artifacts / "validate" / "report.json"


def _write(workspace: Workspace, report: ValidationReport) -> None:
    write_whole(_report_path(workspace), json.dumps(asdict(report), ensure_ascii=False, indent=1).encode())
