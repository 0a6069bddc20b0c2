"""`report.html`: one self-contained page with the metrics, the figures and the worst mistakes."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from models import names
from models.detector.runtime import Detector, DetectorMetadata
from models.evaluation.detail import Detail
from models.evaluation.evaluation import Evaluation
from models.evaluation.twins import Twins, in_words
from models.images import codec
from models.metrics import intervals
from models.metrics.costs import Expected
from models.metrics.verdict_metrics import Metrics
from models.params import Cost
from models.vocabulary import Label, Verdict
from pipelines.line_defect_rate import percent
from pipelines.pages import page
from pipelines.pages.page import Header
from pipelines.pages.pictures import outlined
from pipelines.report.expected import expected_rows
from pipelines.report.ground_truth import GroundTruth

TILE_PX = 220
COLUMNS = (
    ("f1", "F1"),
    ("auroc", "AUROC"),
    ("escape_rate", "escape rate"),
    ("overkill_rate", "overkill rate"),
    ("review_rate", "review rate"),
)


@dataclass(frozen=True)
class Shown:
    """One part in the gallery."""

    part: str
    slice: str
    label: str
    score: float
    verdict: str
    image: str  # data URI
    overlay: str  # data URI
    outlined: bool  # whether the ground truth is drawn into the image


def write(
    out: Path,
    predictions: pa.Table,
    result: Evaluation,
    expected: Sequence[Expected],
    beyond: Detail,
    robustness: Mapping[str, Mapping[str, float]],
    twins: Twins,
    detector: Detector,
    truth: GroundTruth,
    most: int,
    cost: Cost,
) -> None:
    """Write `report.html` to `out`, and the same pictures as files to `gallery/` for MLflow."""
    (out / "gallery").mkdir()
    gallery = [
        (title, [_show(row, detector, truth, out / "gallery" / folder) for row in chosen], of_all)
        for title, folder, chosen, of_all in worst(predictions.to_pylist(), most)
    ]
    html = page.render(
        "pipelines.report",
        "page.html",
        header(detector, cost),
        slider=_slider(predictions, cost, detector.metadata.defect_rate),
        meta=detector.metadata,
        rows=[("all", result.overall), *result.slices.items()],
        columns=COLUMNS,
        cell=cell,
        at_most=at_most,
        share=share,
        mixes=[f"{percent(one.defect_rate)} defective" for one in expected],
        expected=expected_rows(expected),
        assumed=assumed(detector.metadata),
        beyond=beyond,
        types=beyond.types,
        robustness=robustness,
        twins=in_words(twins),
        figures=[
            (path.stem, _data_uri(path.read_bytes()), _described(path.stem, result))
            for path in sorted((out / "figures").glob("*.png"))
        ],
        gallery=gallery,
    )
    (out / "report.html").write_text(html)


def header(detector: Detector, cost: Cost) -> Header:
    """Return the header of a version that is not registered yet. `pipelines.promotion` adds version and decision."""
    meta = detector.metadata
    point = meta.operating_point
    return Header(
        meta.line,
        "Evaluation",
        facts=[
            ("detector", f"{meta.kind}, {meta.backbone} at {meta.image_size_px} px, file {detector.sha256[:16]}"),
            ("thresholds", f"pass below {point.pass_below:.3g}, fail from {point.fail_from:.3g}"),
            ("costs", page.costs(cost)),
            ("snapshot", f"{meta.snapshot}, commit {meta.git_commit[:12]}"),
            ("run", str(meta.mlflow_run_id)),
        ],
        links=[("audit", "../audit/report.html"), ("model card", "model-card.md")],
    )


def _slider(predictions: pa.Table, cost: Cost, rate: float | None) -> dict[str, object]:
    """Return what the threshold slider needs: slice, truth (1: defective) and score of each part, costs, defect rate."""
    worst_of: dict[str, list] = {}
    for row in predictions.to_pylist():
        one = worst_of.setdefault(row["part"], [row["slice"], 0, 0.0])
        one[1] = max(one[1], int(row["label"] == Label.DEFECT))
        one[2] = max(one[2], round(row["score"], 7))
    named = {"escape": cost.escape, "overkill": cost.overkill, "review": cost.review}
    return {"parts": list(worst_of.values()), "cost": named, "rate": rate}


def _described(figure: str, result: Evaluation) -> str:
    """Return what a figure shows, for people who cannot see it."""
    whole = result.overall
    texts = {
        "calibration": "Calibration: share of defective images against their mean score; the diagonal is perfect.",
        "confusion": f"Verdicts by ground truth: of {whole.n_defective} defective parts {whole.escape_rate:.1%} pass, of "
        f"{whole.n_good} good ones {whole.overkill_rate:.1%} fail.",
        "curves": "ROC curve of each slice: "
        + ", ".join(f"AUROC {one.auroc:.3f} on {name}" for name, one in result.slices.items())
        + ".",
        "scores": "Histogram of the scores of good and of defective images, with both thresholds.",
        "training": "Curves of the training, by epoch: loss and AUROC on the validation split.",
    }
    return texts.get(figure, figure)


def worst(rows: list[dict], most: int) -> list[tuple[str, str, list[dict], int]]:
    """Return (title, folder, rows, their number) of the worst escapes and overkill, and of the most uncertain parts."""
    escapes = [row for row in rows if row["label"] == Label.DEFECT and row["verdict"] == Verdict.PASS]
    overkill = [row for row in rows if row["label"] == Label.GOOD and row["verdict"] == Verdict.FAIL]
    unsure = [row for row in rows if row["verdict"] == Verdict.REVIEW]
    return [
        (
            "Escapes: defective, but passed",
            "escapes",
            sorted(escapes, key=lambda row: row["score"])[:most],
            len(escapes),
        ),
        (
            "Overkill: good, but failed",
            "overkill",
            sorted(overkill, key=lambda row: -row["score"])[:most],
            len(overkill),
        ),
        (
            "Most uncertain: sent to review",
            "review",
            sorted(unsure, key=lambda row: abs(row["score"] - 0.5))[:most],
            len(unsure),
        ),
    ]


def cell(metrics: Metrics, name: str) -> str:
    """Format a metric with its 95 % interval."""
    value = getattr(metrics, name)
    low, high = metrics.intervals.get(name, (math.nan, math.nan))
    if math.isnan(value):
        return "–"
    return f"{value:.3f} [{low:.2f}, {high:.2f}]" if not math.isnan(low) else f"{value:.3f}"


def share(of_all: float, n: int) -> str:
    """Format a share of `n` images with its exact 95 % interval."""
    low, high = intervals.exact(round(of_all * n), n)
    return f"{of_all:.1%} [{low:.1%}, {high:.1%}]"


def at_most(metrics: Metrics) -> str:
    """Return a sentence with the one-sided bounds of the escape and overkill rates."""
    bounds = [
        f"{title} at most {metrics.at_most[name]:.3f}"
        for name, title in COLUMNS
        if not math.isnan(metrics.at_most.get(name, math.nan))
    ]
    return f"With 95 % confidence: {', '.join(bounds)}." if bounds else ""


def assumed(meta: DetectorMetadata) -> str:
    """Return a sentence about the defect rate that scores and thresholds are made for."""
    if meta.defect_rate is not None:
        share, rate = meta.dataset_defect_rate, percent(meta.defect_rate)
        before = "" if share is None else f" (validation split: {percent(share)})"
        return f"Scores and thresholds are made for a line on which {rate} of the parts are defective{before}."
    if meta.dataset_defect_rate in (0, 1):
        return (
            "All validation parts are good, or all are defective, so no defect rate applies to scores and thresholds."
        )
    return (
        "Scores and thresholds are made for the defect rate of the validation split, because the line's defect rate is not "
        "set (production.defect_rate)."
    )


def _show(row: dict, detector: Detector, truth: GroundTruth, folder: Path) -> Shown:
    image = codec.read(truth.data_dir / row["file"])
    marked = truth.mask(row["image"], *image.shape[:2])
    plain = _small(codec.to_rgb8(image))
    plain = plain if marked is None else outlined(plain, marked)
    overlay = codec.overlay(image, detector.predict(image).heatmap)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{row['score']:.3f}-{names.for_file(Path(row['part']).name)}.png").write_bytes(
        codec.encode_png(np.hstack([plain, _small(overlay)]))
    )
    return Shown(
        part=row["part"],
        slice=row["slice"],
        label=row["label"],
        score=row["score"],
        verdict=row["verdict"],
        image=_data_uri(codec.encode_png(plain)),
        overlay=_data_uri(codec.encode_png(_small(overlay))),
        outlined=marked is not None,
    )


def _small(image: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(image)
    picture.thumbnail((TILE_PX, TILE_PX))
    return np.asarray(picture)


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
