"""One verdict for a part with several views."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipelines.ledger.tables import Inspection, PartCompletion, Rejection
from pipelines.serving import parts

START = datetime(2026, 11, 30, tzinfo=UTC)


def seen(number: int, verdict: str, view: str | None = None) -> Inspection:
    record = Inspection(
        request_id=str(number),
        line="a",
        part="B-1",
        view=view,
        slice=None,
        source="service",
        image=f"image {number}",
        captured_at=None,
        inspected_at=START + timedelta(seconds=number),
        model_version="1",
        artefact_sha256="0",
        score=number / 10,
        raw_score=0.0,
        verdict=verdict,
        latency_ms=1.0,
        descriptors={},
        regions=[],
    )
    record.id = number
    return record


def unread(number: int, view: str | None = None) -> Rejection:
    return Rejection(
        request_id=str(number),
        line="a",
        part="B-1",
        source="service",
        image="x",
        reason="cut off",
        rejected_at=START + timedelta(seconds=number),
        view=view,
    )


def declared(*expected: object) -> PartCompletion:
    return PartCompletion(line="a", part="B-1", expected=list(expected), completed_at=START)


@pytest.mark.parametrize(
    ("inspected", "rejected", "completion", "expected", "verdict", "complete", "missing"),
    [
        ([seen(1, "pass", "top")], [], None, None, "pass", None, ()),
        ([seen(1, "pass", "top")], [], None, ("top", "left"), None, False, ("left",)),
        ([seen(1, "pass", "top")], [], None, 2, None, False, ("1 of 2 views",)),
        ([seen(1, "fail", "top")], [], None, ("top", "left"), "fail", False, ("left",)),
        ([seen(1, "review", "top")], [], None, ("top", "left"), "review", False, ("left",)),
        ([seen(1, "pass", "top"), seen(2, "pass", "left")], [], None, ("top", "left"), "pass", True, ()),
        ([seen(1, "pass", "top"), seen(2, "fail", "left")], [], None, ("top", "left"), "fail", True, ()),
        ([seen(1, "fail", "top"), seen(2, "pass", "top")], [], None, None, "pass", None, ()),  # taken again
        ([seen(1, "pass", "top")], [], declared(), None, "pass", True, ()),
        ([seen(1, "pass", "top")], [], declared("top", "left"), None, "review", False, ("left",)),
        ([seen(1, "pass", "top")], [], declared(1), ("top", "left"), "pass", True, ()),  # the line knows better
        ([], [], declared(2), None, "review", False, ("2 of 2 views",)),
        ([], [], declared(), None, "review", True, ()),
        ([seen(1, "pass", "top")], [unread(2, "left")], None, None, "review", None, ()),
        ([seen(1, "pass", "top"), seen(3, "pass", "left")], [unread(2, "left")], None, None, "pass", None, ()),
        ([seen(1, "fail", "top")], [unread(2, "left")], None, None, "fail", None, ()),
    ],
)
def test_a_part_passes_only_when_all_expected_views_passed(
    inspected: list[Inspection],
    rejected: list[Rejection],
    completion: PartCompletion | None,
    expected: parts.Expected,
    verdict: str | None,
    complete: bool | None,
    missing: tuple[str, ...],
) -> None:
    answer = parts.of("B-1", inspected, rejected, completion, expected)
    assert (answer.verdict, answer.complete, answer.missing) == (verdict, complete, missing)
