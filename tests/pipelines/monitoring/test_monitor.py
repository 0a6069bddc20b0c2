from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.adapters import drift
from pipelines.inspection.predict import Production, replay
from pipelines.monitoring import monitor
from pipelines.monitoring.monitor import described
from pipelines.pages import index
from pipelines.workspace import Workspace
from tests import pages
from tests.conftest import picture


def columns(seed: int, n: int, shift: float = 0.0, moved: int = 0) -> dict[str, list[float]]:
    random = np.random.default_rng(seed)
    return {f"d{i}": (random.normal(size=n) + shift * (i < moved)).tolist() for i in range(10)}


def compare(current: dict, reference: dict, report: Path) -> list[drift.ColumnDrift]:
    return drift.compare(current, reference, significance=0.01, drift_share=0.4, report=report)


def test_moved_descriptors_are_found_and_only_those(tmp_path: Path) -> None:
    found = compare(columns(0, 200, 1.5, moved=3), columns(1, 150), tmp_path / "r.html")
    assert [column.name for column in found if column.drifted] == ["d0", "d1", "d2"]
    assert (tmp_path / "r.html").stat().st_size > 10_000


@pytest.mark.slow  # a dozen of Evidently's reports
def test_the_same_process_seldom_alarms_whatever_the_sizes(tmp_path: Path) -> None:
    """`significance` holds for all descriptors together, also above the size where Evidently's defaults switch."""
    for n_reference in (150, 1500):
        alarms = sum(
            any(
                column.drifted
                for column in compare(columns(seed, 200), columns(100 + seed, n_reference), tmp_path / "r")
            )
            for seed in range(6)
        )
        assert alarms <= 1


def test_a_shift_is_told_in_medians_and_spreads() -> None:
    numbers = described([3.0] * 10, [0.0, 1.0, 2.0])
    assert numbers["reference"] == 1.0
    assert numbers["current"] == 3.0
    assert numbers["shift"] == pytest.approx(2 / 1.4826)


@pytest.mark.slow
class TestOnALine:
    def produce(self, place: Workspace, n: int, *, bright: bool, first: int) -> None:
        items = [
            Production(
                read=lambda number=number: picture(number, defective=number % 3 == 0, bright=bright),
                part=f"produced{number}",
                request_id=f"{bright}/{number}",
                slice="gloss" if bright else "matt",
            )
            for number in range(first, first + n)
        ]
        replay(place, items, "test")

    def test_few_parts_are_not_judged_then_none_drifts_then_new_material_does(self, own_champion: Workspace) -> None:
        few = monitor.monitor(own_champion)
        assert not few.judged
        assert "Only 0 parts inspected" in few.explanation
        self.produce(own_champion, 60, bright=False, first=1000)
        steady = monitor.monitor(own_champion)
        assert steady.judged
        assert not steady.drifted
        assert steady.event_id is None
        self.produce(own_champion, 60, bright=True, first=2000)
        drifted = monitor.monitor(own_champion)
        assert drifted.drifted
        assert drifted.slice == "gloss"
        assert "brightness" in drifted.top_descriptors
        assert "brightness rose" in drifted.explanation
        report = Path(drifted.report or "")
        assert pages.faults(report) == []
        assert "Typical for the reference" in report.read_text()
        assert index.detail_of(report).stat().st_size > 10_000
        assert report.name in (own_champion.state / "reports" / "index.html").read_text()
        again = monitor.monitor(own_champion)
        assert (again.id, again.event_id) == (drifted.id, drifted.event_id)
