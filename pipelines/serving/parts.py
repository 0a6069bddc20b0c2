"""One verdict for a part with several views, as the service answers it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.vocabulary import Verdict
from pipelines.ledger import part_verdicts
from pipelines.ledger.tables import Inspection, PartCompletion, Rejection

Expected = int | tuple[str, ...] | None  # a number of views, their names, or nothing declared


@dataclass(frozen=True)
class PartAnswer:
    """`verdict` is None while views are missing and none of those that came fails or is unclear.

    `complete` is None if nobody said how many views the part has. `missing` names the missing views, or numbers them.
    """

    part: str
    verdict: Verdict | None
    score: float | None
    complete: bool | None
    views: tuple[Inspection, ...]
    missing: tuple[str, ...]
    unreadable: int


def of(
    part: str,
    inspected: Sequence[Inspection],
    rejected: Sequence[Rejection],
    declared: PartCompletion | None,
    expected: Expected,
) -> PartAnswer:
    """Return the verdict on a part from all its inspections and rejections.

    A part fails if any view fails, and goes to review if any view is unclear or unreadable, or if the line declared it
    complete although views are missing. It passes when all expected views passed.
    """
    if declared is not None and declared.expected:
        expected = _expected(declared.expected)
    whole = part_verdicts.of(inspected) if inspected else None
    unread = [one for one in rejected if not _taken_again(one, inspected)]
    views = whole.views if whole else ()
    missing = _missing(views, expected)
    closed = declared is not None
    if whole and whole.verdict == Verdict.FAIL:
        verdict: Verdict | None = Verdict.FAIL
    elif unread or (whole and whole.verdict == Verdict.REVIEW) or (closed and (missing or not whole)):
        verdict = Verdict.REVIEW
    elif missing or not whole:
        verdict = None
    else:
        verdict = Verdict.PASS
    complete = not missing if expected is not None else (True if closed else None)
    return PartAnswer(part, verdict, whole.score if whole else None, complete, views, missing, len(unread))


def _taken_again(rejected: Rejection, inspected: Sequence[Inspection]) -> bool:
    """Return whether a later image of the same view could be read."""
    return any(one.view == rejected.view and one.inspected_at > rejected.rejected_at for one in inspected)


def _expected(stored: Sequence[object]) -> Expected:
    first = stored[0]
    return first if isinstance(first, int) else tuple(str(view) for view in stored)


def _missing(views: Sequence[Inspection], expected: Expected) -> tuple[str, ...]:
    if expected is None:
        return ()
    if isinstance(expected, int):
        lacking = expected - len(views)
        return (f"{lacking} of {expected} views",) if lacking > 0 else ()
    sent = {view.view for view in views}
    return tuple(view for view in expected if view not in sent)
