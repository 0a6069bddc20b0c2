from __future__ import annotations

import numpy as np
import pytest

from models.images import acquisition
from pipelines.monitoring.diagnosis import Cause, diagnose, explained

LIGHT, FOCUS, DEFECTS = np.eye(8)[:3] * 2
CHANGES = {"10 % less light": LIGHT, "less focus": FOCUS}
ERROR = np.full(8, 0.02)


@pytest.mark.parametrize(
    ("shift", "cause", "named"),
    [
        (0.8 * LIGHT, Cause.ACQUISITION, "10 % less light"),
        (1.3 * FOCUS + 0.3 * np.eye(8)[5], Cause.ACQUISITION, "less focus"),
        (0.5 * DEFECTS, Cause.DEFECT_RATE, "more defective parts"),
        (-0.4 * DEFECTS, Cause.DEFECT_RATE, "fewer defective parts"),
        (3 * np.eye(8)[6], Cause.PRODUCT, "nearest change"),
        (LIGHT + 3 * np.eye(8)[6], Cause.PRODUCT, "nearest change"),
        (-LIGHT, Cause.PRODUCT, "nearest change"),
        (5 * LIGHT, Cause.PRODUCT, "nearest change"),  # far stronger than any change that was tried
    ],
)
def test_a_shift_has_the_cause_that_moves_the_descriptors_in_the_same_direction(
    shift: np.ndarray, cause: Cause, named: str
) -> None:
    found = diagnose(shift, ERROR, CHANGES, DEFECTS, rate=0.4)
    assert found.cause is cause
    assert named in found.reasons[0]


def test_a_shift_beyond_the_mean_of_defective_parts_is_no_defect_rate() -> None:
    assert diagnose(0.7 * DEFECTS, ERROR, CHANGES, DEFECTS, rate=0.3).cause is Cause.DEFECT_RATE
    assert diagnose(1.8 * DEFECTS, ERROR, CHANGES, DEFECTS, rate=0.3).cause is Cause.PRODUCT
    assert diagnose(-1.2 * DEFECTS, ERROR, CHANGES, DEFECTS, rate=0.3).cause is Cause.PRODUCT


def test_a_reference_of_few_parts_tells_no_causes_apart() -> None:
    few = slice(0, 3)
    found = diagnose(LIGHT[few], ERROR[few], {"10 % less light": LIGHT[few]}, DEFECTS[few])
    assert found.cause is Cause.PRODUCT
    assert "too few parts" in found.reasons[0]


def test_without_images_and_without_defective_parts_a_drift_is_taken_for_the_product() -> None:
    found = diagnose(LIGHT, ERROR, {}, None)
    assert found.cause is Cause.PRODUCT
    assert "no image of the reference" in found.reasons[0]


def test_noise_of_the_mean_is_not_held_against_a_cause() -> None:
    noise = np.random.default_rng(0).normal(0, np.sqrt(ERROR))
    assert explained(LIGHT + noise, float(ERROR.sum()), LIGHT) > 0.95


@pytest.mark.parametrize("image", [np.zeros((9, 7, 1), np.uint8), np.full((40, 60, 3), 9000, np.uint16)])
def test_changes_of_the_station_keep_type_and_channels(image: np.ndarray) -> None:
    for name, change in acquisition.changes(colour=image.shape[2] == 3).items():
        changed = change(image)
        assert (changed.dtype, changed.shape[2], changed.size) == (image.dtype, image.shape[2], image.size), name


def test_changes_of_the_station_do_what_their_names_say() -> None:
    image = np.random.default_rng(0).integers(60, 180, (64, 64, 1)).astype(np.uint8)
    changes = acquisition.changes(colour=False)
    assert changes["10 % less light"](image).mean() == pytest.approx(0.9 * image.mean(), rel=0.01)
    faded = changes["light that fades to the right"](image)
    assert faded[:, -8:].mean() < 0.9 * faded[:, :8].mean()
    below = changes["light that fades to the bottom"](image)
    assert below[-8:].mean() < 0.9 * below[:8].mean()
    assert np.array_equal(changes["a camera moved down"](image)[1:], image[:-1])
    assert changes["less focus (blur of 1.5 px)"](image).std() < 0.5 * image.std()
