"""What an audit says: one finding per kind of trouble, with the images that show it. Knows no files and no page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    PROBLEM = "problem"  # numbers measured on this data can't be believed, or nothing can be learned
    WARNING = "warning"  # likely wrong: somebody should look
    NOTE = "note"  # worth knowing


@dataclass(frozen=True)
class Case:
    """Images (SHA-256) that belong together, as two of a pair, and what is to be seen in them."""

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
    cases: tuple[Case, ...] = ()  # the worst first; at most SHOWN


def counted(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


SHOWN = 24  # cases that a finding carries; `count` tells them all


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
