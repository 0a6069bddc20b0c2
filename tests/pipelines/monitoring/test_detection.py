"""On generated streams: ten descriptors, a reference of 160 parts, and a line of 10,000 parts a month."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from pipelines.monitoring import alarm_limit, batches, detection, scan, standardised
from pipelines.monitoring.alarm_limit import Limits
from pipelines.monitoring.detection import Finding
from pipelines.monitoring.standardised import Scale

NAMES = (*(f"d{number}" for number in range(9)), "score")
WINDOWS = scan.lengths(32, 256)
HISTORY = 1500  # undrifted parts before a change


def parts(random: np.random.Generator, n: int, batch: int = 1, share: float = 0.0) -> np.ndarray:
    """Return `n` parts in batches; `share` is the part of the variance that is common to a batch."""
    common = np.repeat(random.normal(size=(n // batch + 1, len(NAMES))), batch, axis=0)[:n]
    return np.sqrt(share) * common + np.sqrt(1 - share) * random.normal(size=(n, len(NAMES)))


@dataclass(frozen=True)
class Line:
    scale: Scale
    limits: Limits

    def examine(self, columns: np.ndarray, *stops: int) -> list[Finding]:
        """Examine the stream whenever so many parts have come."""
        rows = self.scale.standardise(columns, np.full(len(columns), None, object))
        found: list[Finding] = []
        seen = 0
        for stop in (*stops, len(columns)):
            ongoing = found[-1].drift if found and found[-1].ongoing else None
            found.append(detection.examine(rows[:stop], self.scale, self.limits, WINDOWS, seen, ongoing))
            seen = stop
        return found


@pytest.fixture(scope="module")
def line() -> Line:
    reference = parts(np.random.default_rng(0), 160)
    slices, ones, groups = np.full(160, None, object), np.ones(160), np.zeros(160, int)
    scale = standardised.fit(reference, NAMES, slices, ones, groups)
    return Line(scale, alarm_limit.limits(reference, NAMES, slices, ones, groups, WINDOWS, 10_000))


def shifted(seed: int, by: float, columns: int, n: int = 600) -> np.ndarray:
    stream = parts(np.random.default_rng(seed), HISTORY + n)
    stream[HISTORY:, :columns] += by
    return stream


@pytest.mark.parametrize(("by", "columns", "delay"), [(3.0, 1, 32), (1.0, 1, 64), (0.6, 4, 96)])
def test_a_shift_is_found_soon_and_dated(line: Line, by: float, columns: int, delay: int) -> None:
    late, misdated = [], []
    for seed in range(5):
        [whole] = line.examine(shifted(seed, by, columns))
        assert whole.drifted
        assert whole.drift is not None
        misdated.append(abs(whole.drift.since - HISTORY))
        until = next(
            n for n in range(HISTORY + 8, HISTORY + 600, 8) if line.examine(shifted(seed, by, columns)[:n])[-1].drifted
        )
        late.append(until - HISTORY)
    assert np.median(late) <= delay
    assert np.median(misdated) <= 24


def test_only_the_descriptor_that_moved_is_named(line: Line) -> None:
    [found] = line.examine(shifted(0, 2.0, 1))
    assert found.strongest is not None
    assert np.flatnonzero(found.strongest.over).tolist() == [0]


def test_an_unchanged_line_alarms_about_once_a_month_at_most(line: Line) -> None:
    alarms = sum(line.examine(parts(np.random.default_rng(seed), 10_000))[-1].drifted for seed in range(8))
    assert alarms <= 6  # of 8 months, in which 8 alarms were allowed


def test_batches_that_look_alike_are_no_drift(line: Line) -> None:
    """Half of the variance is common to 40 successive parts. Counted part by part, this line alarms all the time."""
    months = [parts(np.random.default_rng(seed), 10_000, batch=40, share=0.5) for seed in range(4)]
    found = [line.examine(month, *range(1000, 10_000, 1000)) for month in months]
    assert sum(one.drifted for month in found for one in month) <= 8
    rows = [line.scale.standardise(month, np.full(len(month), None, object)) for month in months]
    looks = [scan.scan(month, line.scale.whitening, line.scale.errors, WINDOWS) for month in rows]
    assert np.mean([(one.strongest[:, 0] > line.limits.distance).mean() for one in looks]) > 0.2


def test_examining_often_finds_what_examining_once_finds(line: Line) -> None:
    stream = shifted(3, 0.8, 2, n=1500)
    [once] = line.examine(stream)
    often = line.examine(stream, *range(100, len(stream), 37))
    drifts = [one.drift for one in often if one.drifted]
    assert once.drift is not None
    assert drifts[0] is not None
    assert drifts[0].since == once.drift.since
    assert drifts[-1] == once.drift


def test_a_drift_ends_when_production_has_returned_for_a_longest_window(line: Line) -> None:
    stream = shifted(4, 2.0, 2, n=1200)
    stream[HISTORY + 300 :, :2] -= 2.0
    found = line.examine(stream, HISTORY + 300, HISTORY + 900)
    assert [one.ongoing for one in found] == [True, False, False]
    assert not found[-1].drifted


def test_another_share_of_the_slices_is_no_drift() -> None:
    """A line alternates between two products that differ in every descriptor, and today makes only one of them."""
    random = np.random.default_rng(1)
    slices = np.array(["a"] * 80 + ["b"] * 80, dtype=object)
    reference = parts(random, 160) + 5.0 * (slices == "b")[:, None]
    ones, groups = np.ones(160), np.zeros(160, int)
    scale = standardised.fit(reference, NAMES, slices, ones, groups)
    limits = alarm_limit.limits(reference, NAMES, slices, ones, groups, WINDOWS, 10_000)
    today = np.array((["a"] + ["b"] * 199) * 2, dtype=object)
    rows = scale.standardise(parts(random, 400) + 5.0 * (today == "b")[:, None], today)
    assert not detection.examine(rows, scale, limits, WINDOWS).drifted


def test_the_variance_of_a_windows_mean_is_estimated_from_earlier_parts() -> None:
    random = np.random.default_rng(2)
    independent, batched = parts(random, 4096), parts(random, 4096, batch=32, share=0.5)
    assert np.median(batches.factors(independent, (128,))) < 1.3
    expected = 1 + 0.5 * 31  # batches of 32 that share half of the variance, in a window of many batches
    assert 0.6 * expected < np.median(batches.factors(batched, (1024,))) < 2 * expected


def test_without_history_production_is_assumed_to_come_in_batches() -> None:
    assert np.allclose(batches.factors(np.empty((0, 3)), (32, 256)), batches.BEFORE_ANY)


def test_a_descriptor_that_was_constant_is_compared_too(line: Line) -> None:
    reference = np.concatenate([parts(np.random.default_rng(5), 160)[:, :9], np.zeros((160, 1))], axis=1)
    slices, ones, groups = np.full(160, None, object), np.ones(160), np.zeros(160, int)
    names = ("score", *(f"d{number}" for number in range(8)), "saturation")
    scale = standardised.fit(reference, names, slices, ones, groups)
    limits = alarm_limit.limits(reference, names, slices, ones, groups, WINDOWS, 10_000)
    now = np.concatenate([parts(np.random.default_rng(6), 600)[:, :9], np.zeros((600, 1))], axis=1)
    same, coloured = now.copy(), now.copy()
    coloured[300:, -1] = 0.2
    rows = [scale.standardise(stream, np.full(600, None, object)) for stream in (same, coloured)]
    assert [detection.examine(one, scale, limits, WINDOWS).drifted for one in rows] == [False, True]
