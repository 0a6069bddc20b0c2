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


def test_evidently_compares_the_columns_by_one_test_and_writes_its_report(tmp_path: Path) -> None:
    """Also above 1,000 reference rows, where Evidently's default would be a distance instead of a p value."""
    for n_reference in (150, 1500):
        found = drift.compare(
            columns(0, 200, 1.5, moved=3), columns(1, n_reference), report=tmp_path / f"{n_reference}.html"
        )
        assert [name for name, p_value in found.items() if p_value < 1e-6] == ["d0", "d1", "d2"]
        assert min(list(found.values())[3:]) > 1e-4
        assert (tmp_path / f"{n_reference}.html").stat().st_size > 10_000


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
