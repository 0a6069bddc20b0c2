from __future__ import annotations

import numpy as np
import pytest

from models.images.typical_range import RANGED, distances, typical_range

RANDOM = np.random.default_rng(0)
GREYS = np.clip(
    RANDOM.normal(0.6, 0.12, 500), 0.05, 0.95
)  # wide enough that a linear range would reach black and white
EDGES = np.exp(RANDOM.normal(np.log(0.015), 0.4, 500))


@pytest.mark.parametrize("brightness", [0.0, 0.02, 0.985, 1.0])
def test_black_and_blown_out_images_are_unusual_however_much_the_light_varies(brightness: float) -> None:
    low, high = typical_range("brightness", GREYS, 3) or (0.0, 1.0)
    assert not low <= brightness <= high


def test_a_tenth_of_the_usual_sharpness_is_unusual_and_no_range_reaches_below_zero() -> None:
    low, high = typical_range("sharpness", EDGES, 3) or (0.0, 1.0)
    assert 0.0015 < low < high
    assert all((typical_range(look, EDGES, 50) or (-1.0, 0.0))[0] >= 0 for look in RANGED)


def test_a_few_gross_outliers_do_not_hide_each_other() -> None:
    low, _ = typical_range("brightness", np.concatenate([GREYS, np.zeros(15)]), 3) or (0.0, 0.0)
    assert low > 0.02


def test_a_grey_line_is_not_disturbed_by_the_colour_noise_of_a_jpeg_but_by_colour() -> None:
    _, high = typical_range("saturation", np.zeros(100), 3) or (0.0, 0.0)
    assert 0.004 < high < 0.02


def test_distance_and_range_agree_and_what_was_not_measured_is_neither() -> None:
    away = np.abs(distances("brightness", np.append(GREYS, np.nan)))
    low, high = typical_range("brightness", GREYS, 1.5) or (0.0, 0.0)
    assert np.array_equal(away[:-1] > 1.5, (low > GREYS) | (high < GREYS))
    assert np.isnan(away[-1])
    assert typical_range("noise", np.full(3, np.nan), 3) is None
