import numpy as np
import pytest

from models import calibration


@pytest.fixture
def overconfident() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    logit = random.normal(-1, 2, 4000)
    return 3 * logit + 1, random.random(4000) < 1 / (1 + np.exp(-logit))


def test_overconfident_scores_become_honest(overconfident: tuple[np.ndarray, np.ndarray]) -> None:
    raw, truth = overconfident
    calibrator = calibration.fit(raw, truth)
    assert calibrator.slope == pytest.approx(1 / 3, rel=0.1)
    assert calibration.expected_error(calibrator(raw), truth) < 0.03


def test_order_of_parts_is_kept_even_when_the_detector_is_upside_down() -> None:
    raw = np.array([0.0, 1.0, 2.0, 3.0])
    calibrator = calibration.fit(raw, np.array([True, True, False, False]))
    assert np.all(np.diff(calibrator(raw)) > 0)


def test_perfectly_separated_scores_stay_finite() -> None:
    calibrator = calibration.fit(np.array([-50.0, -40.0, 40.0, 50.0]), np.array([False, False, True, True]))
    assert np.isfinite(calibrator.slope)
    assert 0 < calibrator(np.array([-50.0]))[0] < 0.5 < calibrator(np.array([50.0]))[0] < 1


def test_one_class_cannot_be_calibrated() -> None:
    with pytest.raises(ValueError, match="both classes"):
        calibration.fit(np.zeros(3), np.zeros(3, bool))


def test_reliability_diagram_counts_every_part() -> None:
    score = np.linspace(0, 1, 21)
    diagram = calibration.reliability(score, score > 0.5)
    assert sum(entry.n for entry in diagram) == 21
