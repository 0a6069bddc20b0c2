"""Finds classes with too few parts, too little proof of a low escape rate, and underrepresented slices. Pure."""

from __future__ import annotations

import math

import pandas as pd

from models.params import PartsPerClass
from models.vocabulary import Label, Split
from pipelines.audit.finding import Case, Finding, Severity, counted, finding

PROVEN_ESCAPE_RATE = 0.05  # with 95 % confidence if no test part escapes: 1 − 0.05^(1/n)
SMALL_SHARE = 0.05  # share of all parts below which overall metrics say little about a slice


def findings(frame: pd.DataFrame, wanted: PartsPerClass) -> list[Finding]:
    real = frame[~frame["synthetic"] & frame["truth"].notna()]
    parts = real.groupby(["truth", "split"])["part"].nunique()
    small = []
    for truth in sorted(real["truth"].unique()):
        for split in Split:
            have, need = int(parts.get((truth, split.value), 0)), int(getattr(wanted, split))
            if have < need:
                small.append(f"{truth}: {need - have} more {split} parts ({have} of {need})")
    results = []
    if small:
        results.append(
            finding(
                "small-classes",
                Severity.WARNING,
                f"{counted(len(small), 'class is', 'classes are')} too small to train or test",
                "; ".join(small) + ".",
                "Ingest more parts, or label them in reviews. `defectloop synthesize` helps training only.",
                [Case((), line) for line in small],
            )
        )
    return results + _unproven(real) + _slices(real)


def _unproven(real: pd.DataFrame) -> list[Finding]:
    defective = real[(real["label"] == Label.DEFECT) & (real["split"] == Split.TEST)]
    have = defective["part"].nunique()
    need = math.ceil(math.log(0.05) / math.log(1 - PROVEN_ESCAPE_RATE))
    if have >= need or not len(real):
        return []
    reach = 1 - 0.05 ** (1 / have) if have else 1.0
    return [
        finding(
            "little-proof",
            Severity.NOTE,
            f"{have} defective test parts can prove an escape rate below {reach:.0%} at best",
            f"To prove an escape rate below {PROVEN_ESCAPE_RATE:.0%} with 95 % confidence, {need} defective test parts are "
            f"needed, of which none escapes: {need - have} more.",
            "Ingest more defective parts.",
            [],
            need - have,
        )
    ]


def _slices(real: pd.DataFrame) -> list[Finding]:
    counts = real.groupby(["slice", "split", "label"])["part"].nunique()
    total = real.groupby("slice")["part"].nunique()
    lacking, described = [], []
    for name, n in total.items():
        gaps = [
            f"no {label.value} {split.value} parts"
            for split in (Split.TRAIN, Split.TEST)
            for label in Label
            if counts.get((name, split.value, label.value), 0) == 0
        ]
        share = n / total.sum()
        if share < SMALL_SHARE:
            gaps.append(f"only {share:.1%} of all parts")
        described.append(f"{name}: {n} parts, {share:.0%}")
        if gaps:
            lacking.append(Case((), f"{name}: {', '.join(gaps)}"))
    if not lacking:
        return []
    return [
        finding(
            "slices",
            Severity.WARNING,
            f"{len(lacking)} of {counted(len(total), 'slice is', 'slices are')} not well represented",
            f"Overall metrics are not valid for them. All slices: {'; '.join(described)}.",
            "Ingest parts of these slices: defectloop ingest FOLDER --slice NAME",
            lacking,
        )
    ]
