from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import BadInput
from pipelines.ledger import inspections, search
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.search import Filters
from pipelines.ledger.tables import Inspection
from tests.pipelines.ledger.test_ledger import inspection

START = datetime(2026, 1, 2, tzinfo=UTC)
HOURS = 8


def values(number: int) -> dict[str, object]:
    """Inspections with equal times, ids that do not follow the times, and some without a slice."""
    return {
        "part": f"p{number % 7}",
        "verdict": ("pass", "review", "fail")[number % 3],
        "model_version": str(1 + number % 2),
        "slice": (None, "mono", "poly")[number * 5 % 3],
        "inspected_at": START + timedelta(hours=number * 37 % HOURS),
    }


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('search')}/ledger.db") as opened:
        inspections.add(opened, [inspection(str(number), **values(number)) for number in range(120)])  # type: ignore[arg-type]
        inspections.add(opened, [inspection("other", line="gadgets")])
        yield opened


def pages(ledger: Ledger, filters: Filters, limit: int) -> list[list[Inspection]]:
    got, cursor = [], None
    while True:
        page = search.search(ledger, "widgets", filters, cursor, limit)
        got.append(page.inspections)
        if page.next is None:
            return got
        cursor = page.next
        assert len(got) < 200


hours = st.none() | st.integers(0, HOURS).map(lambda hour: START + timedelta(hours=hour))


@settings(max_examples=60, deadline=None)
@given(
    filters=st.builds(
        Filters,
        part=st.sampled_from([None, "p3", "nobody's"]),
        since=hours,
        until=hours,
        verdict=st.sampled_from([None, "fail", "unknown"]),
        model_version=st.sampled_from([None, "2"]),
        slice=st.sampled_from([None, "mono"]),
    ),
    limit=st.sampled_from([1, 7, 500]),
    scanned=st.sampled_from([3, 50_000]),
)
def test_all_pages_together_hold_what_matches_newest_first(
    ledger: Ledger, filters: Filters, limit: int, scanned: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "SCANNED", scanned)
        got = pages(ledger, filters, limit)
    asked = {name: value for name in ("part", "verdict", "model_version", "slice") if (value := getattr(filters, name))}
    expected = [
        item
        for item in inspections.latest(ledger, "widgets", 1000)
        if all(getattr(item, name) == value for name, value in asked.items())
        and (filters.since is None or item.inspected_at >= filters.since)
        and (filters.until is None or item.inspected_at < filters.until)
    ]
    expected.sort(key=lambda item: (item.inspected_at, item.id), reverse=True)
    assert [item.id for page in got for item in page] == [item.id for item in expected]
    assert all(len(page) <= limit for page in got)


def test_what_is_stored_between_two_pages_moves_nothing(ledger: Ledger) -> None:
    first = search.search(ledger, "widgets", Filters(), limit=50)
    inspections.add(
        ledger, [inspection(f"later {number}", inspected_at=START + timedelta(days=9)) for number in range(3)]
    )
    second = search.search(ledger, "widgets", Filters(), first.next, limit=50)
    assert not {item.id for item in first.inspections} & {item.id for item in second.inspections}
    assert len(second.inspections) == 50


@pytest.mark.parametrize("cursor", ["", "x", "W10", "bnVsbA", "ä" * 300, "WzEsMl0"])
def test_a_cursor_that_no_search_returned_is_bad_input(ledger: Ledger, cursor: str) -> None:
    with pytest.raises(BadInput, match="no cursor"):
        search.search(ledger, "widgets", Filters(), cursor)


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_a_page_has_a_size_within_bounds(ledger: Ledger, limit: int) -> None:
    with pytest.raises(BadInput, match="from 1 to 500"):
        search.search(ledger, "widgets", Filters(), limit=limit)
