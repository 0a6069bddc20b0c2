"""Reports unreadable files and exact duplicates, which ingest or the contract has quarantined. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from models.vocabulary import Label
from pipelines.audit.finding import Case, Finding, Severity, counted, finding
from pipelines.image_files.quarantine import Quarantined


def findings(frame: pd.DataFrame, refused: Sequence[Quarantined]) -> list[Finding]:
    broken = [
        Case((), f"{row.source}/{row.source_path}: {row.decode_error}")
        for row in frame.itertuples()
        if row.decode_error
    ]
    broken += [
        Case((), f"{entry.path}: {entry.row['decode_error']}") for entry in refused if entry.row.get("decode_error")
    ]
    present = set(frame["image"])
    twice = [
        Case((entry.image,) if entry.image in present else (), f"{entry.path}: {entry.reason}")
        for entry in refused
        if entry.reason.startswith("duplicate")
    ]
    labels = dict(zip(frame["image"], frame["truth"], strict=True))
    other = [
        Case((entry.image,), f"{labels[entry.image]}; delivered again as {_truth(entry.row)}: {entry.path}")
        for entry in refused
        if entry.image in present and _truth(entry.row) not in (None, labels[entry.image])
    ]
    listed = (
        ("unreadable", Severity.WARNING, broken, ("file cannot be read", "files cannot be read"),
         "They are truncated, empty, or not images.",
         "Deliver them again. They are in quarantine: defectloop quarantine list"),
        ("exact-duplicates", Severity.NOTE, twice, ("file is a copy of another one", "files are copies of others"),
         "They are identical byte for byte. The copies are in quarantine.",
         "After a look at them: defectloop quarantine drop"),
        ("same-bytes-different-labels", Severity.PROBLEM, other,
         ("copy has a different label", "copies have different labels"),
         "One of the two labels is wrong. The first one is kept.",
         "Check the labels, and ingest the corrected delivery again."),
    )  # fmt: skip
    return [
        finding(kind, severity, counted(len(cases), *what), why, remedy, cases)
        for kind, severity, cases, what, why, remedy in listed
        if cases
    ]


def _truth(row: dict[str, Any]) -> str | None:
    kinds: list[str] = row.get("defect_types") or []
    return kinds[0] if row.get("label") == Label.DEFECT and len(kinds) == 1 else row.get("label")
