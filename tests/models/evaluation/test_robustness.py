from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.evaluation import robustness
from models.vocabulary import OperatingPoint


class Brightness:
    """A detector that judges by light alone: defective when bright."""

    def predict_many(self, images: Iterable[np.ndarray]) -> Iterator[Any]:
        for image in images:
            yield SimpleNamespace(score=float(image.mean() / np.iinfo(image.dtype).max))

    def verdict(self, score: float) -> Any:
        return OperatingPoint(0.5, 0.5).verdict(score)


def test_a_detector_that_judges_by_light_is_found_out() -> None:
    parts = [np.full((20, 30, 1), value, dtype=np.uint8) for value in (100, 120, 125, 200)]
    unchanged = [answer.score for answer in Brightness().predict_many(parts)]
    found = robustness.measure(Brightness(), parts, unchanged, lambda done: None)  # type: ignore[arg-type]
    assert found["10 % lighter"].changed == found["10 % lighter"].flipped == 0.5
    assert found["10 % darker"].changed == 0
    assert all(found[name].changed == 0 for name in found if "mirrored" in name or "JPEG" in name)


def test_without_images_nothing_is_said() -> None:
    assert robustness.measure(Brightness(), [], [], lambda done: None) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_change_keeps_size_depth_and_channels(dtype: type, channels: int) -> None:
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (40, 30, channels)).astype(dtype)
    for name, changed in robustness.changes(image).items():
        assert (changed.shape, changed.dtype) == (image.shape, image.dtype), name
        assert (changed != image).any(), name


def test_more_light_saturates_and_does_not_wrap_round() -> None:
    assert robustness.changes(np.full((8, 8, 1), 250, np.uint8))["10 % lighter"].min() == 255
