"""Files that are no images, and bytes that came twice: what ingest and the contract already set aside. Pure."""

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
        ("unreadable", Severity.WARNING, broken, ("file can't be read", "files can't be read"),
         "They are cut off, empty, or no images.",
         "Deliver them again; they are in quarantine: defectloop quarantine list"),
        ("exact-duplicates", Severity.NOTE, twice, ("file is another one's copy", "files are copies of others"),
         "Byte for byte: they are in quarantine and count once.",
         "defectloop quarantine drop, when you have looked at them"),
        ("same-bytes-different-labels", Severity.PROBLEM, other, ("copy has another label", "copies have other labels"),
         "At least one of the two labels is wrong; the first one stands.",
         "Decide which, and ingest the corrected delivery again."),
    )  # fmt: skip
    return [
        finding(kind, severity, counted(len(cases), *what), why, remedy, cases)
        for kind, severity, cases, what, why, remedy in listed
        if cases
    ]


def _truth(row: dict[str, Any]) -> str | None:
    kinds: list[str] = row.get("defect_types") or []
    return kinds[0] if row.get("label") == Label.DEFECT and len(kinds) == 1 else row.get("label")
