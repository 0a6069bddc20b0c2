"""Findings of the audit: one per kind of problem, with the images that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    PROBLEM = "problem"  # metrics on this data are not valid, or training is impossible
    WARNING = "warning"  # probably wrong: a person should look
    NOTE = "note"  # worth knowing


@dataclass(frozen=True)
class Case:
    """Images (SHA-256) that belong together, such as a pair, with a caption."""

    images: tuple[str, ...]
    caption: str


@dataclass(frozen=True)
class Finding:
    kind: str  # a stable name for programs
    severity: Severity
    title: str
    explanation: str
    next_step: str
    count: int
    cases: tuple[Case, ...] = ()  # worst first, at most SHOWN


def counted(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


SHOWN = 24  # maximum number of cases per finding; `count` is the total


def finding(
    kind: str,
    severity: Severity,
    title: str,
    explanation: str,
    next_step: str,
    cases: Sequence[Case],
    count: int | None = None,
) -> Finding:
    return Finding(
        kind, severity, title, explanation, next_step, len(cases) if count is None else count, tuple(cases[:SHOWN])
    )
