import numpy as np
import pytest

from models.images import descriptors
from models.vocabulary import Prediction


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(60, 120, (50, 60, 1)).astype(np.uint8)


def test_bit_depth_changes_no_descriptor(image: np.ndarray) -> None:
    deep = image.astype(np.uint16) * 257
    assert descriptors.describe(deep) == pytest.approx(descriptors.describe(image), abs=1e-5)


def test_grey_as_colour_changes_no_descriptor(image: np.ndarray) -> None:
    assert descriptors.describe(np.repeat(image, 3, axis=2)) == pytest.approx(descriptors.describe(image), abs=1e-5)


def test_brighter_image_is_brighter(image: np.ndarray) -> None:
    assert descriptors.describe(image + 20)["brightness"] > descriptors.describe(image)["brightness"]


def test_uniform_image_has_neither_contrast_nor_noise() -> None:
    flat = descriptors.describe(np.full((20, 20, 3), 90, dtype=np.uint8))
    assert flat["brightness"] == pytest.approx(90 / 255)
    assert max(flat["contrast"], flat["sharpness"], flat["noise"], flat["saturation"]) < 1e-6


def test_noise_is_the_standard_deviation_of_white_noise() -> None:
    noisy = np.random.default_rng(0).normal(128, 10, (300, 300, 1)).clip(0, 255).astype(np.uint8)
    assert descriptors.describe(noisy)["noise"] * 255 == pytest.approx(10, rel=0.05)


def test_tiny_image_is_described(image: np.ndarray) -> None:
    assert descriptors.describe(image[:1, :1])["sharpness"] == 0


def test_inspection_adds_score_and_projection(image: np.ndarray) -> None:
    zeros = np.zeros(2, dtype=np.float32)
    prediction = Prediction(score=0.25, raw_score=-1.0, heatmap=zeros, embedding=zeros, projection=zeros + 3)
    described = descriptors.of_inspection(image, prediction)
    assert described["score"] == 0.25
    assert described["projection_0"] == described["projection_1"] == 3
