from collections.abc import Callable

import numpy as np
import pytest

from models.metrics import class_mix
from models.thresholds import calibration, defect_rate
from models.thresholds.calibration import Calibrator

Fit = Callable[[np.ndarray, np.ndarray], Calibrator]
Parts = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def dataset() -> Parts:
    """A third defective; log odds that a logistic curve of the raw score meets exactly."""
    random = np.random.default_rng(0)
    truth = random.random(6000) < 1 / 3
    return np.where(truth, 1.5, -1.5) + random.normal(size=6000), truth


@pytest.mark.parametrize("fit", [calibration.platt, calibration.isotonic])
def test_a_score_shifted_to_the_lines_rate_is_honest_on_the_line(fit: Fit, dataset: Parts) -> None:
    raw, truth = dataset
    calibrator = defect_rate.shifted(fit(raw, truth), truth.mean(), 0.02)
    random = np.random.default_rng(1)
    produced = random.random(60_000) < 0.02
    on_line = np.where(produced, 1.5, -1.5) + random.normal(size=60_000)
    score = calibrator(on_line)
    assert score.mean() == pytest.approx(0.02, rel=0.15)
    assert calibration.expected_error(score, produced) < 0.004
    assert fit(raw, truth)(on_line).mean() > 0.04  # unshifted it promises more than twice as many


@pytest.mark.parametrize("fit", [calibration.platt, calibration.isotonic])
def test_the_shift_moves_every_log_odds_alike_and_keeps_the_order(fit: Fit, dataset: Parts) -> None:
    before = fit(*dataset)
    raw = np.linspace(-8, 8, 2001)
    for rate in (1e-4, 0.01, 0.9):
        after = defect_rate.shifted(before, 1 / 3, rate)
        moved = np.log(after(raw) / (1 - after(raw))) - np.log(before(raw) / (1 - before(raw)))
        assert moved == pytest.approx(np.log(2 * rate / (1 - rate)), abs=0.01)
        assert np.all(np.diff(after(raw)) > 0)


def test_a_shift_to_the_datasets_own_rate_changes_nothing(dataset: Parts) -> None:
    before, raw = calibration.isotonic(*dataset), np.linspace(-5, 5, 101)
    assert defect_rate.shifted(before, 0.3, 0.3)(raw) == pytest.approx(before(raw), abs=1e-6)


def test_weights_make_test_parts_stand_for_production() -> None:
    truth = np.repeat([True, False], [30, 70])
    weight = class_mix.weights(truth, 0.01)
    assert weight.mean() == pytest.approx(1)
    assert weight[truth].sum() / weight.sum() == pytest.approx(0.01)
    assert (class_mix.weights(truth, None) == 1).all()
    assert (class_mix.weights(np.zeros(5, bool), 0.01) == 1).all()  # nothing to weigh against


def test_a_reference_keeps_all_good_parts_and_a_spread_of_defective_ones() -> None:
    truth, score = np.repeat([True, False], [100, 198]), np.arange(298.0)
    kept = class_mix.chosen_for(truth, score, 0.01)
    assert (~truth[kept]).sum() == 198
    assert score[kept][truth[kept]].tolist() == [25, 75]
    assert len(class_mix.chosen_for(truth, score, None)) == 298


def test_a_line_with_more_defects_than_the_data_keeps_all_defective_parts() -> None:
    truth = np.repeat([True, False], [20, 180])
    kept = class_mix.chosen_for(truth, np.arange(200.0), 0.5)
    assert (truth[kept].sum(), (~truth[kept]).sum()) == (20, 20)
