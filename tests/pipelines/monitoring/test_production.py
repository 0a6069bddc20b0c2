from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.ledger import inspections
from pipelines.ledger.ledger import Ledger
from pipelines.monitoring import production
from tests.pipelines.ledger.test_ledger import inspection

MODEL = "cd" * 32


def read(tmp_path: Path, *items: tuple[str, float], names: tuple[str, ...] = ("score",)) -> production.Production:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        inspections.add(
            ledger,
            [
                inspection(f"{number}", part, view=str(number), descriptors={"score": score})
                for number, (part, score) in enumerate(items)
            ],
        )
        return production.read(ledger, "widgets", MODEL, names)


def test_a_part_with_several_images_is_one_row_described_by_the_most_suspicious(tmp_path: Path) -> None:
    stream = read(tmp_path, ("a", 0.1), ("b", 0.2), ("a", 0.9), ("a", 0.5))
    assert stream.rows[:, 0].tolist() == pytest.approx([0.9, 0.2])
    assert stream.ids.tolist() == [3, 2]
    assert stream.last == 4


def test_a_part_that_comes_back_later_is_a_row_of_its_own(tmp_path: Path) -> None:
    between = [(f"p{number}", 0.1) for number in range(production.VISIT)]
    assert len(read(tmp_path, ("a", 0.1), *between, ("a", 0.9)).ids) == production.VISIT + 2


def test_a_descriptor_that_older_inspections_lack_is_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, ("a", 0.1), names=("light_x", "score")).names == ("score",)


def test_nothing_inspected_is_an_empty_stream(tmp_path: Path) -> None:
    stream = read(tmp_path)
    assert stream.rows.shape == (0, 1)
    assert stream.last is None


def test_parts_per_month_follow_the_latest_thirty_days_and_a_short_replay_is_a_day() -> None:
    begun = np.datetime64("2026-01-01T00:00:00")
    assert production.parts_per_month(begun + np.arange(100).astype("timedelta64[s]")) == 3000
    assert 28 < production.parts_per_month(begun + np.arange(300).astype("timedelta64[D]")) < 32
