"""Figures and tables of an evaluation: CSV for `dvc plots`, PNG for reports and MLflow."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from models.metrics.class_mix import weights
from models.thresholds import calibration
from models.vocabulary import Label, OperatingPoint

GOOD, DEFECT, INK, GRID = "#2a9d8f", "#d1495b", "#264653", "#e5e9ec"
_LONGEST_LABEL = 40  # characters
_MOST_POINTS = 400  # per curve in a CSV, because dvc plots draws every point


def write(predictions: pa.Table, folder: Path) -> None:
    """Write precision_recall.csv, roc.csv and confusion.csv for `dvc plots diff`."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    folder.mkdir()
    truth, score = _truth_and_score(predictions)
    if 0 < truth.sum() < len(truth):
        precision, recall, _ = precision_recall_curve(truth, score)
        false_positive, true_positive, _ = roc_curve(truth, score)
    else:
        precision = recall = false_positive = true_positive = np.zeros(0)
    _table(folder / "precision_recall.csv", ("recall", "precision"), _thinned(recall, precision))
    _table(folder / "roc.csv", ("false_positive_rate", "true_positive_rate"), _thinned(false_positive, true_positive))
    pairs = zip(predictions["label"].to_pylist(), predictions["verdict"].to_pylist(), strict=True)
    _table(folder / "confusion.csv", ("truth", "verdict"), pairs)


def draw(
    predictions: pa.Table, point: OperatingPoint, history: Path, folder: Path, defect_rate: float | None = None
) -> None:
    """Write confusion.png, curves.png (ROC), precision_recall.png, scores.png, calibration.png (at the line's `defect_rate`)
    and training.png."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir()
    style = {
        "font.size": 9,
        "text.parse_math": False,  # a slice may be called 5 $
        "axes.edgecolor": GRID,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": GRID,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.titleweight": "bold",
        "axes.titlesize": 10,
        "legend.frameon": False,
        "figure.dpi": 130,
    }
    truth, score = _truth_and_score(predictions)
    with mpl.rc_context(style):
        for name, paint, size in (
            ("confusion", lambda axes: _confusion(axes, predictions), (3.6, 2.4)),
            ("curves", lambda axes: _curves(axes, predictions), (4.2, 3.2)),
            ("precision_recall", lambda axes: _precision_recall(axes, predictions), (4.2, 3.2)),
            ("scores", lambda axes: _scores(axes, truth, score, point), (4.2, 3.2)),
            ("calibration", lambda axes: _calibration(axes, score, truth, defect_rate), (3.4, 3.2)),
            ("training", lambda axes: _training(axes, history), (4.2, 3.2)),
        ):
            figure, axes = plt.subplots(figsize=size, layout="constrained")
            paint(axes)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Glyph .* missing")  # the legend shows a box; the table has the name
                figure.savefig(folder / f"{name}.png", metadata={"Software": None})
            plt.close(figure)


def score_and_truth(predictions: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    truth, score = _truth_and_score(predictions)
    return score, truth


def _truth_and_score(predictions: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    truth = np.array([label == Label.DEFECT for label in predictions["label"].to_pylist()])
    return truth, predictions["score"].to_numpy()


def _thinned(*columns: np.ndarray) -> Iterable[tuple]:
    chosen = np.unique(np.linspace(0, max(len(columns[0]) - 1, 0), _MOST_POINTS).astype(int))
    return zip(*(column[chosen].tolist() if len(column) else [] for column in columns), strict=True)


def _table(path: Path, names: tuple[str, ...], rows: Iterable) -> None:
    with path.open("w", newline="") as sink:
        writer = csv.writer(sink)
        writer.writerow(names)
        writer.writerows(rows)


def _read(path: Path) -> dict[str, list[float]]:
    with path.open() as source:
        rows = list(csv.DictReader(source))
    return {name: [float(row[name] or "nan") for row in rows] for name in (rows[0] if rows else {})}


def _confusion(axes: Any, predictions: pa.Table) -> None:
    truths, verdicts = ("good", "defect"), ("pass", "review", "fail")
    pairs = list(zip(predictions["label"].to_pylist(), predictions["verdict"].to_pylist(), strict=True))
    counts = np.array([[pairs.count((truth, verdict)) for verdict in verdicts] for truth in truths])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="BuGn", vmin=0, vmax=1, aspect="auto")
    axes.grid(visible=False)
    for row, column in np.ndindex(counts.shape):
        colour = "white" if shares[row, column] > 0.6 else INK
        axes.text(
            column, row, f"{counts[row, column]}\n{shares[row, column]:.0%}", ha="center", va="center", color=colour
        )
    axes.set_xticks(range(3), verdicts)
    axes.set_yticks(range(2), truths)
    axes.set(xlabel="verdict", title="Verdicts by ground truth")


def _curves(axes: Any, predictions: pa.Table) -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    for name, truth, score in _slices_with_both(predictions):
        x, y, _ = roc_curve(truth, score)
        axes.plot(x, y, label=f"{_legend(name)}: AUROC {roc_auc_score(truth, score):.3f}", linewidth=1.6)
    axes.plot([0, 1], [0, 1], color=GRID, zorder=0)
    axes.set(xlabel="false positive rate", ylabel="true positive rate (recall)", title="ROC by slice")
    if axes.get_legend_handles_labels()[1]:  # a slice with both labels
        axes.legend(loc="lower right")


def _precision_recall(axes: Any, predictions: pa.Table) -> None:
    from sklearn.metrics import average_precision_score, precision_recall_curve

    for name, truth, score in _slices_with_both(predictions):
        precision, recall, _ = precision_recall_curve(truth, score)
        average = average_precision_score(truth, score)
        axes.plot(recall, precision, label=f"{_legend(name)}: average precision {average:.3f}", linewidth=1.6)
    axes.set(xlabel="recall", ylabel="precision", title="Precision and recall by slice", ylim=(0, 1.03))
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower left")


def _slices_with_both(predictions: pa.Table) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield name, truth and score of each slice that has good and defective images: others have no curve."""
    truth, score = _truth_and_score(predictions)
    slices = np.array(predictions["slice"].to_pylist())
    for name in np.unique(slices):
        mine = slices == name
        if 0 < truth[mine].sum() < mine.sum():
            yield str(name), truth[mine], score[mine]


def _legend(name: str) -> str:
    """Return a slice's name for a legend. Matplotlib omits names with a leading underscore; long names are shortened."""
    short = name if len(name) <= _LONGEST_LABEL else f"{name[: _LONGEST_LABEL - 1]}…"
    return f" {short}" if short.startswith("_") else short


def _scores(axes: Any, truth: np.ndarray, score: np.ndarray, point: OperatingPoint) -> None:
    bins = np.linspace(0, 1, 31).tolist()
    axes.hist([score[~truth], score[truth]], bins, stacked=True, color=[GOOD, DEFECT], label=["good", "defect"])
    for threshold, text in ((point.pass_below, "pass below"), (point.fail_from, "fail from")):
        axes.axvline(threshold, color=INK, linestyle="--", linewidth=1)
        axes.text(threshold, axes.get_ylim()[1] * 0.98, f" {text} {threshold:.2f}", va="top", fontsize=8)
    axes.set(xlabel="score", ylabel="images", title="Scores and thresholds")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _calibration(axes: Any, score: np.ndarray, truth: np.ndarray, defect_rate: float | None) -> None:
    diagram = calibration.reliability(score, truth, weights=weights(truth, defect_rate))
    axes.plot([0, 1], [0, 1], color=GRID, zorder=0)
    axes.scatter(
        [entry.mean_score for entry in diagram],
        [entry.share_defective for entry in diagram],
        s=[4 + entry.n for entry in diagram],
        color=INK,
        alpha=0.8,
    )
    axes.set(xlabel="mean score", ylabel="share defective", title="Calibration", xlim=(0, 1), ylim=(0, 1.05))


def _training(axes: Any, path: Path) -> None:
    history = _read(path)
    steps = "epoch" if "epoch" in history else "patches"
    curves = [name for name in history if name not in (steps, "val_auroc")]
    for name, colour in zip(sorted(curves)[:3], (INK, DEFECT, GOOD), strict=False):
        axes.plot(history[steps], history[name], color=colour, label=name.replace("_", " "), linewidth=1.6)
    lines = list(axes.get_lines())
    if "val_auroc" in history:
        right = axes.twinx()
        right.plot(history[steps], history["val_auroc"], color=GOOD, linewidth=1.6, label="val AUROC")
        right.set_ylim(0.5, 1)
        right.grid(visible=False)
        lines += right.get_lines()
    axes.set(xlabel=steps, ylabel="loss" if "train_loss" in curves else "distance", title="Training")
    axes.legend(handles=lines, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
