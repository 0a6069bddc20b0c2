"""Audits the dataset as a whole, beyond the contract on single rows, and writes `artifacts/audit/`. Changes no data."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.dataset import annotation_table
from models.errors import BadData
from models.evaluation.twins import Twins
from models.files import read_json, write_whole
from models.images import codec
from models.vocabulary import Label
from pipelines import progress
from pipelines.audit import (
    amounts,
    duplicates,
    embeddings,
    file_facts,
    ground_truth,
    label_errors,
    leaks,
    outliers,
    page,
    set_aside,
    twins,
)
from pipelines.audit.finding import Case, Finding, Severity
from pipelines.image_files import file_hashes, fingerprints, quarantine
from pipelines.ledger.tables import now
from pipelines.pages import index
from pipelines.pages.page import Header
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

ORDER = list(Severity)
CHECKS = "2"  # increase it when the checks change, so that a stored report of an older release is not used


@dataclass(frozen=True)
class AuditReport:
    annotations_sha256: str
    images: int
    labels_judged: int  # labels that were checked; the other images have no features yet
    findings: tuple[Finding, ...]  # most severe first
    page: str  # path relative to the workspace


def audit(workspace: Workspace, *, judge_labels: bool = False) -> AuditReport:
    """Return the findings on the present data, from the last report if nothing has changed since.

    With `judge_labels`, missing features are computed first, so that every label is checked. Otherwise, only labels of
    images with features from a training are checked. Raises BadData if there are no images.
    """
    sha256 = hashlib.sha256(workspace.annotations.read_bytes()).hexdigest() if workspace.annotations.exists() else ""
    key = f"{CHECKS} {sha256} {_quarantine_state(workspace)} {workspace.params().validate_.model_dump_json()}"
    measure_again(workspace)
    last = _last(workspace, key)
    if last is not None and not judge_labels:
        return last
    table = annotation_table.load(workspace.annotations)
    if not len(table):
        raise BadData(f"{workspace.data} contains no images.", next_step="defectloop ingest FOLDER")
    file_hashes.require(workspace)  # cached results are keyed by the hashes of the images
    frame = _frame(table.to_pandas())
    readable = frame[frame["decode_error"].isna()].reset_index(drop=True)
    labelled = readable[readable["truth"].notna() & ~readable["synthetic"]]
    names, files = labelled["image"].tolist(), [workspace.data / name for name in labelled["file"]]
    if judge_labels:
        embeddings.compute(workspace, names, files)
    places, features = embeddings.kept(workspace, names)
    if last is not None and last.labels_judged >= len(places):
        return last
    readable = _with_file_facts(workspace, readable)
    photographed = readable[~readable["synthetic"]].reset_index(drop=True)
    judged = labelled.iloc[places]
    pairs = twins.pairs(workspace, photographed[["image", "file"]].to_dict("records"))
    results = [
        *set_aside.findings(frame, quarantine.entries(workspace)),
        *duplicates.findings(photographed, pairs, fingerprints.tones(workspace, photographed["file"].tolist())),
        *ground_truth.findings(readable, _masks(workspace, readable)),
        *leaks.findings(photographed),
        *label_errors.findings(judged["image"].tolist(), judged["truth"].tolist(), judged["part"].tolist(), features),
        *amounts.findings(photographed, workspace.params().validate_.min_parts_per_class),
        *outliers.findings(photographed),
    ]
    report = AuditReport(
        sha256, len(frame), len(places), _judged(results, twins.measured(workspace)), "artifacts/audit/report.html"
    )
    _write(workspace, report, key, frame)
    return report


def measure_again(workspace: Workspace) -> None:
    """Update the severity of look-alikes in the last report, if an evaluation has measured their effect since."""
    path = _report_path(workspace)
    last = _stored(path)
    if last is None or not workspace.annotations.exists():
        return
    key, report = last
    findings = _judged(report.findings, twins.measured(workspace))
    sha256 = hashlib.sha256(workspace.annotations.read_bytes()).hexdigest()
    if report.annotations_sha256 == sha256 and findings != report.findings:
        frame = annotation_table.load(workspace.annotations).to_pandas()
        _write(workspace, replace(report, findings=findings), key, frame)


def _judged(results: Sequence[Finding], measured: Twins | None) -> tuple[Finding, ...]:
    """Return the findings with the severity that follows from the effect of twins, most severe first."""
    return tuple(
        sorted((duplicates.judged(one, measured) for one in results), key=lambda one: ORDER.index(one.severity))
    )


def known_issues(workspace: Workspace) -> list[str]:
    """Return the findings of the last audit, most severe first. Empty if the present table was not audited."""
    path = _report_path(workspace)
    if not path.exists() or not workspace.annotations.exists():
        return []
    report = read_json(path, next_step="Make it again: defectloop validate")["report"]
    if report["annotations_sha256"] != hashlib.sha256(workspace.annotations.read_bytes()).hexdigest():
        return []
    return [f"{item['severity']}: {item['title']}" for item in report["findings"]]


def _frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the columns that the checks share: `truth` (the defect type, or else the label), `size_px` and `folder`."""
    frame["decode_error"] = frame["decode_error"].astype(object).where(frame["decode_error"].notna(), None)
    one_type = frame["defect_types"].map(lambda kinds: kinds[0] if kinds is not None and len(kinds) == 1 else None)
    frame["defect_types"] = frame["defect_types"].map(lambda kinds: list(kinds) if kinds is not None else [])
    frame["truth"] = one_type.where((frame["label"] == Label.DEFECT) & one_type.notna(), frame["label"])
    frame["size_px"] = (
        frame["width_px"].astype("Int64").astype(str) + "×" + frame["height_px"].astype("Int64").astype(str)
    )
    frame["folder"] = frame["source_path"].map(lambda path: Path(path).parent.as_posix())
    return frame


def _with_file_facts(workspace: Workspace, readable: pd.DataFrame) -> pd.DataFrame:
    facts = _in_parallel(lambda name: file_facts.read(workspace.data / name), readable["file"], "file headers")
    for column in ("compression", "camera", "exposure"):
        readable[column] = [fact[column] for fact in facts]
    return readable


def _masks(workspace: Workspace, readable: pd.DataFrame) -> dict[str, ground_truth.MaskFacts]:
    rows = readable[readable["mask"].notna()].to_dict("records")

    def measured(row: dict[str, Any]) -> ground_truth.MaskFacts:
        mask = codec.read(workspace.data / row["mask"])[..., 0] > 0
        return ground_truth.measure(mask, None if row["boxes"] is None else list(row["boxes"]))

    return dict(zip((row["image"] for row in rows), _in_parallel(measured, rows, "masks"), strict=True))


def _in_parallel(work: Callable[[Any], Any], items: Iterable[Any], title: str) -> list[Any]:
    items = list(items)
    done = []
    with progress.bar(title, len(items)) as show, ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for number, result in enumerate(pool.map(work, items, chunksize=16), start=1):
            done.append(result)
            if number % 100 == 0:
                show(number)
    return done


def _quarantine_state(workspace: Workspace) -> str:
    notes = sorted(path.name for path in workspace.quarantine.glob("*.json")) if workspace.quarantine.exists() else []
    return hashlib.sha256("\n".join(notes).encode()).hexdigest()[:16]


def _last(workspace: Workspace, key: str) -> AuditReport | None:
    last = _stored(_report_path(workspace))
    if last is None or last[0] != key or not (workspace.root / last[1].page).exists():
        return None
    return last[1]


def _stored(path: Path) -> tuple[str, AuditReport] | None:
    """Return the stored report and its key. None if there is none, or if it is damaged: then the audit is repeated."""
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    report = content["report"]
    return content["key"], AuditReport(**report | {"findings": tuple(_finding(item) for item in report["findings"])})


def _finding(item: dict[str, Any]) -> Finding:
    cases = tuple(Case(tuple(case["images"]), case["caption"]) for case in item["cases"])
    return Finding(**item | {"severity": Severity(item["severity"]), "cases": cases})


def _write(workspace: Workspace, report: AuditReport, key: str, frame: pd.DataFrame) -> None:
    out = workspace.artifacts / "audit"
    file_of: dict[str, str] = dict(zip(frame["image"], frame["file"], strict=True))
    names: Sequence[str] = [f"{row.source}/{row.source_path}" for row in frame.itertuples()]
    name_of = dict(zip(frame["image"], names, strict=True))
    header = Header(
        workspace.params().line,
        "Dataset audit",
        facts=[
            ("audited", f"{now():%Y-%m-%d %H:%M} UTC"),
            ("data", f"{report.images} images, annotations {report.annotations_sha256[:12]}"),
        ],
        links=index.links(workspace, out / "report.html"),
    )
    html = page.render(header, report.images, report.findings, lambda image: workspace.data / file_of[image], name_of)
    write_whole(out / "report.html", html.encode())
    content = {"key": key, "report": asdict(report)}
    write_whole(_report_path(workspace), json.dumps(content, ensure_ascii=False, indent=1).encode())


def _report_path(workspace: Workspace) -> Path:
    return workspace.artifacts / "audit" / "report.json"
