"""Checks `data/` against the data contract. Images that fail are quarantined; enough must be left to train and test."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import compute

from models.dataset import annotation_table
from models.errors import BadData, NotReady
from models.files import read_json, remove_partial, write_whole
from models.images.typical_range import RANGED
from models.params import PartsPerClass
from models.training import kinds
from models.vocabulary import Label, Split
from pipelines.adapters.data_contract import CLOCKS_DAYS, CRITICAL, WARNING, Contract, Outcome
from pipelines.amounts import image_count
from pipelines.audit import audit
from pipelines.image_files import file_hashes, quarantine
from pipelines.image_files.quarantine import Quarantined
from pipelines.locks import line_lock
from pipelines.merging import frozen_splits
from pipelines.validation import data_docs, typical_ranges
from pipelines.validation.typical_ranges import TypicalRanges
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = 5
ENOUGH_TO_CALIBRATE = 30  # parts per class; with 0 errors in 30, the exact one-sided 95 % bound is still 0.095


@dataclass(frozen=True)
class Warned:
    """A failed rule of severity `warning`. Its images stay in the data."""

    reason: str
    n_images: int  # 0 if the rule concerns the whole dataset
    examples: tuple[str, ...]  # delivery paths, at most five


@dataclass(frozen=True)
class ValidationReport:
    passed: bool
    n_checked: int
    n_valid: int
    n_accepted: int  # images that a person released from quarantine in spite of the contract
    n_synthetic: int  # synthetic images among those checked; they do not count for minimum numbers of parts
    failures: tuple[str, ...]  # critical failures of the whole dataset
    warnings: tuple[Warned, ...]
    quarantined: tuple[Quarantined, ...]  # by this run
    typical: TypicalRanges
    audit: tuple[str, ...]  # findings of the audit as "severity: title"
    docs: str  # path of the Data Docs relative to the workspace
    audit_page: str
    annotations_sha256: str  # of the table without the quarantined rows


def validate(workspace: Workspace) -> ValidationReport:
    """Check every image, quarantine those that fail, check that enough parts are left, and audit the rest.

    Always writes `artifacts/validate/report.json` and the Data Docs. Raises BadData if the whole dataset fails, or if the
    contract cannot be checked; in that case nothing is quarantined.
    """
    params = workspace.params()
    with line_lock(workspace, params.line, wait_s=600.0):
        _report_path(workspace).unlink(missing_ok=True)  # an earlier pass must not outlive an interrupted check
        table = annotation_table.load(workspace.annotations)
        if not len(table):
            raise BadData(f"{workspace.data} contains no images.", next_step="defectloop ingest FOLDER")
        remove_partial(workspace.data)
        quarantine.tidy(workspace)
        file_hashes.require(workspace)
        frozen_splits.require(workspace, table)
        contract = Contract(params.validate_)
        typical = typical_ranges.learned(workspace, table, params.validate_.typical_range_factor)
        frame = _frame(table)
        of_images = contract.check_images(frame, typical.ranges)
        left, looked = table, None
        refused: list[Quarantined] = []
        of_dataset: list[Outcome] = []
        broken = [one for one in of_images if not one.checked]
        if not broken:
            left, refused = _quarantine_failing(workspace, table, of_images)
            of_dataset = enough(left, params.validate_.min_parts_per_class, contract, kinds.KINDS[params.model.kind])
            looked = audit.audit(workspace) if len(left) else None
        failed = [one for one in (*broken, *of_dataset) if not one.holds and one.severity == CRITICAL]
        names = dict(zip(frame["image"], frame.index, strict=True))
        docs = workspace.artifacts / "validate" / "data_docs"
        contract.write_docs(docs)
        report = ValidationReport(
            passed=not failed,
            n_checked=len(table),
            n_valid=len(left),
            n_accepted=len(table) - table["accepted_by"].null_count,
            n_synthetic=table.filter(table["synthetic"]).num_rows,
            failures=tuple(one.reason for one in failed),
            warnings=tuple(_warned((*of_images, *of_dataset), left, names)),
            quarantined=tuple(refused),
            typical=typical,
            audit=tuple(f"{one.severity}: {one.title}" for one in looked.findings) if looked else (),
            docs=(docs / "index.html").relative_to(workspace.root).as_posix(),
            audit_page=looked.page if looked else "",
            annotations_sha256=_sha256(workspace.annotations),
        )
        data_docs.finish(
            docs,
            line=params.line,
            summary=summary(report),
            rules=data_docs.shown((*of_images, *of_dataset), names),
            typical=typical,
        )
        _write(workspace, report)
    if broken:
        raise BadData(
            f"The data contract {'; '.join(report.failures)}.", next_step="Correct params.yaml, section validate."
        )
    if failed:
        raise BadData(_complaint(report.failures, refused), next_step=_remedy(failed, left, refused))
    return report


def summary(report: ValidationReport) -> str:
    """Summarise the validation in one sentence."""
    text = f"{image_count(report.n_checked, report.n_synthetic)} checked, {len(report.quarantined)} quarantined"
    text += f", {len(report.warnings)} warning{'' if len(report.warnings) == 1 else 's'}" if report.warnings else ""
    text += f", {report.n_accepted} accepted by a person in spite of the contract" if report.n_accepted else ""
    return text + (f". Failed: {'; '.join(report.failures)}" if report.failures else "")


def last_report(workspace: Workspace) -> dict[str, Any] | None:
    """Return the report of the last validation, passed or not. None if there is none or it was interrupted."""
    path = _report_path(workspace)
    return read_json(path, next_step="Make it again: defectloop validate") if path.exists() else None


def require_passed(workspace: Workspace) -> None:
    """Raise NotReady unless the present table has passed validation."""
    report = last_report(workspace)
    if report is None:
        raise NotReady("The data has not been validated.", next_step="defectloop validate")
    if not report["passed"] or report["annotations_sha256"] != _sha256(workspace.annotations):
        raise NotReady("The data has changed since it last passed validation.", next_step="defectloop validate")


def enough(table: pa.Table, wanted: PartsPerClass, contract: Contract, needs: Collection[Label]) -> list[Outcome]:
    """Check that enough parts per class and split, and recent labels, are left to train and test. Synthetic images do not
    count.

    `needs` are the labels that this kind of detector trains on. Other labels need only test parts, if they occur at all.
    """
    import pandas as pd

    real = table.filter(compute.invert(table["synthetic"]))
    labels = sorted(real["label"].unique().to_pylist())
    if missing := sorted(set(needs) - set(labels)):
        only = f"no {' and no '.join(missing)} parts among {len(real)} labelled images"
        rule = "there are parts of every class that this kind of detector trains on"
        return [Outcome("parts_per_class", CRITICAL, rule, only, "label", holds=False)]
    parts = real.select(["label", "split", "part"]).to_pandas().groupby(["label", "split"])["part"].nunique()
    counts = pd.DataFrame(
        {
            "key": f"{label}/{split}",
            "class": label,
            "split": split.value,
            "parts": int(parts.get((label, split.value), 0)),
            "needed": getattr(wanted, split) if label in needs or split == Split.TEST else 0,
        }
        for label in labels
        for split in Split
    )
    counts["missing"] = counts["needed"] - counts["parts"]
    counts.index = pd.Index(counts["key"].tolist())
    shortages = {key: f"{key}: {row['parts']} parts, {row['needed']} needed" for key, row in counts.iterrows()}
    outcomes: list[Outcome] = []
    for one in contract.check_dataset(counts, _newest_days(real)):
        lacking = [replace(one, reason=shortages[key], rows=()) for key in one.rows if key in shortages]
        outcomes += lacking or [replace(one, rows=())]
    if contract.rules.severity.parts_per_class != "off":
        outcomes += [few for label in sorted(needs) if (few := _few_to_calibrate(real, label, wanted.validation))]
    return outcomes


def _few_to_calibrate(real: pa.Table, label: Label, needed: int) -> Outcome | None:
    """Return a warning if a class has too few validation parts for calibration and thresholds, however many images."""
    chosen = real.filter(
        compute.and_(compute.equal(real["label"], label), compute.equal(real["split"], Split.VALIDATION))
    )
    n_parts = compute.count_distinct(chosen["part"]).as_py()
    if n_parts >= ENOUGH_TO_CALIBRATE or n_parts < needed:
        return None
    rule = f"scores and thresholds rest on {ENOUGH_TO_CALIBRATE} validation parts of every class"
    reason = (
        f"calibration uses only {n_parts} {label} validation parts ({len(chosen)} images), fewer than "
        f"{ENOUGH_TO_CALIBRATE}, so measured rates are very uncertain. Add parts; if every image shows a different part, "
        "set ingest.part_from"
    )
    return Outcome("parts_per_class", WARNING, rule, reason, "part", holds=False)


def _frame(table: pa.Table) -> pd.DataFrame:
    """Return the columns that the contract checks, indexed by delivery path."""
    import pandas as pd

    columns = ["image", "slice", "decode_error", "label", "labelled_by", "accepted_by"]
    frame = table.select([*columns, "width_px", "height_px", "bit_depth", *RANGED]).to_pandas()
    moments = table["labelled_at"].to_pylist()
    ages = pd.Series(_ages_days(moments), dtype=float)
    frame["label_age_days"] = ages
    frame["label_date_error"] = pd.Series(moments, dtype=object).where(ages.isna(), None)
    names = pd.Series(_paths(table))
    again = names.duplicated(keep=False)  # different images with the same name
    frame.index = pd.Index(names.where(~again, names + " (" + frame["image"].str[:8] + ")").tolist())
    return frame


def _ages_days(moments: Sequence[str | None]) -> list[float | None]:
    """Return the ages in days. None for missing and invalid ISO 8601 dates; times without a zone are UTC."""
    now = datetime.now(UTC)

    def age(moment: str) -> float | None:
        try:
            given = datetime.fromisoformat(moment)
        except ValueError:
            return None
        return (now - (given if given.tzinfo else given.replace(tzinfo=UTC))).total_seconds() / 86400

    age_of = {moment: age(moment) for moment in set(moments) if moment is not None}
    return [None if moment is None else age_of[moment] for moment in moments]


def _newest_days(table: pa.Table) -> float | None:
    """Return the age in days of the newest label, ignoring dates in the future. None if there is none."""
    ages = _ages_days(table["labelled_at"].unique().to_pylist())
    return min((max(age, 0.0) for age in ages if age is not None and age >= -CLOCKS_DAYS), default=None)


def _present(workspace: Workspace) -> set[str]:
    """Return every image file relative to data/. Listing folders is faster than checking every file."""
    folder = workspace.data / "images"
    below = [entry.name for entry in os.scandir(folder) if entry.is_dir()] if folder.exists() else []
    return {f"images/{name}/{file.name}" for name in below for file in os.scandir(folder / name)}


def _quarantine_failing(
    workspace: Workspace, table: pa.Table, outcomes: list[Outcome]
) -> tuple[pa.Table, list[Quarantined]]:
    """Quarantine images that fail. Returns the remaining table and the quarantined images.

    Files are copied to quarantine first, then rows are removed, then files are deleted, so that a kill loses nothing.
    """
    broken: dict[str, list[Outcome]] = defaultdict(list)
    for one in outcomes:
        if one.severity == CRITICAL:
            for image in one.rows:
                broken[image].append(one)
    fails = compute.is_in(table["image"], pa.array(list(broken), pa.string()))
    refused = []
    for row in table.filter(fails).to_pylist():
        reason = "; ".join(one.reason + _value(row, one.column) for one in broken[row["image"]])
        data = (workspace.data / row["file"]).read_bytes()
        refused.append(quarantine.put(workspace, row, reason, data, durable=False))
    left = table.filter(compute.invert(fails))
    if refused:
        os.sync()  # once for all copies, before the rows are removed
        annotation_table.save(left, workspace.annotations)
    _drop_unannotated(workspace, set(left["file"].to_pylist()))
    return left, refused


def _value(row: dict[str, Any], column: str) -> str:
    """Return the invalid value in parentheses, or an empty text if there is none to show."""
    value = row.get({"label_age_days": "labelled_at", "label_date_error": "labelled_at"}.get(column, column))
    if value is None:
        return ""
    return f" ({value:.3g})" if isinstance(value, float) else f" ({value})"


def _warned(outcomes: Sequence[Outcome], left: pa.Table, names: Mapping[str, str]) -> Iterator[Warned]:
    present = set(left["image"].to_pylist())
    for one in outcomes:
        if one.severity == WARNING and not one.holds:
            kept = [names[image] for image in one.rows if image in present]
            if kept or not one.rows:
                yield Warned(one.reason, len(kept), tuple(kept[:EXAMPLES]))


def _paths(table: pa.Table) -> list[str]:
    names = zip(table["source"].to_pylist(), table["source_path"].to_pylist(), strict=True)
    return [f"{source}/{name}" for source, name in names]


def _drop_unannotated(workspace: Workspace, files: set[str]) -> None:
    """Delete files without a row: just quarantined, or left by a killed ingest, whose source still has them."""
    for file in _present(workspace) - files:
        (workspace.data / file).unlink()


def _complaint(failures: Sequence[str], refused: list[Quarantined]) -> str:
    unlabelled = [entry for entry in refused if "no label" in entry.reason]
    other = [entry for entry in refused if "no label" not in entry.reason]
    text = f"The data is not sufficient: {'; '.join(failures)}."
    if unlabelled:
        text += f" {len(unlabelled)} images lack labels (first: {unlabelled[0].path})."
    if other:
        text += f" {len(other)} images went to quarantine (first: {other[0].path}: {other[0].reason})."
    return text


def _remedy(failed: list[Outcome], left: pa.Table, refused: list[Quarantined]) -> str:
    if any("no label" in entry.reason for entry in refused):
        return "Label them (one sub-folder per class, or a manifest's column `label`) and ingest them again."
    if all(one.rule == "label_age" for one in failed):
        return "Ingest recently labelled parts, or increase validate.max_label_age_days in params.yaml."
    labels = left["label"].unique()
    return f"Ingest more {'parts' if len(labels) > 1 else 'parts of the other class'}: defectloop ingest FOLDER"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _report_path(workspace: Workspace) -> Path:
    return workspace.artifacts / "validate" / "report.json"


def _write(workspace: Workspace, report: ValidationReport) -> None:
    write_whole(_report_path(workspace), json.dumps(asdict(report), ensure_ascii=False, indent=1).encode())
