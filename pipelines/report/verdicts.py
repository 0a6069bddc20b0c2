"""The verdict on every test part with its reason, as a table in Parquet and CSV."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

from models.thresholds.operating_point import reason
from models.vocabulary import Label, OperatingPoint


def table(predictions: pa.Table, point: OperatingPoint) -> pa.Table:
    """Return one row per part, ordered by name. The image with the highest score decides.

    Columns: part, slice, label (defect if any image is), images (their number), image (the deciding one), raw_score, score,
    pass_below, fail_from, verdict, reason.
    """
    of_part = defaultdict(list)
    for row in predictions.to_pylist():
        of_part[row["part"]].append(row)
    rows = []
    for part, views in sorted(of_part.items()):
        worst = max(views, key=lambda row: row["score"])
        defective = any(row["label"] == Label.DEFECT for row in views)
        rows.append(
            {
                "part": part,
                "slice": worst["slice"],
                "label": (Label.DEFECT if defective else Label.GOOD).value,
                "images": len(views),
                "image": worst["image"],
                "raw_score": worst["raw_score"],
                "score": worst["score"],
                "pass_below": point.pass_below,
                "fail_from": point.fail_from,
                "verdict": point.verdict(worst["score"]).value,
                "reason": reason(worst["score"], point),
            }
        )
    return pa.Table.from_pylist(rows)


def write(predictions: pa.Table, point: OperatingPoint, folder: Path) -> None:
    """Write `verdicts.parquet` and `verdicts.csv` with the same rows."""
    rows = table(predictions, point)
    parquet.write_table(rows, folder / "verdicts.parquet")
    csv.write_csv(rows, folder / "verdicts.csv")
