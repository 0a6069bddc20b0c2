"""Descriptors of an image's appearance, used for drift monitoring. Only NumPy, about a millisecond per image.

Pixel descriptors are scaled so that white is 1, independent of the bit depth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.vocabulary import Prediction

# Descriptors are computed on a central square of at most this size, which limits the time for large images.
_CENTRE_PX = 1024
_GREY = (0.299, 0.587, 0.114)  # red, green, blue: ITU-R BT.601


def describe(image: np.ndarray) -> dict[str, float]:
    """Return brightness, contrast, sharpness, noise and saturation of H×W×C uint8 or uint16 pixels, each in [0, 1].

    brightness  mean of the grey values
    contrast    their standard deviation
    sharpness   mean absolute Laplacian
    noise       standard deviation of pixel noise (Immerkær, Fast Noise Variance Estimation, 1996)
    saturation  mean of (largest − smallest channel); 0 for grey images
    """
    return _described(_centre(image), *_scaled_grey(image))


def of_pixels(image: np.ndarray) -> dict[str, float]:
    """Return what `describe` returns, and how the light falls on H×W×C pixels; for drift monitoring.

    light_x     mean of the right half less that of the left half, in [-1, 1]
    light_y     mean of the lower half less that of the upper half
    """
    grey, white = _scaled_grey(image)
    height, width = (side // 2 for side in grey.shape)
    if not height or not width:
        fall = {"light_x": 0.0, "light_y": 0.0}
    else:
        left, upper = _mean(grey[:, :width]), _mean(grey[:height])
        fall = {"light_x": _mean(grey[:, -width:]) - left, "light_y": _mean(grey[-height:]) - upper}
    return _described(_centre(image), grey, white) | fall


def _scaled_grey(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the grey values of the central square in [0, 1], float32 H×W, and the value of white."""
    white = float(np.iinfo(image.dtype).max)
    grey = _grey(_centre(image))
    grey *= np.float32(1 / white)
    return grey, white


def _described(centre: np.ndarray, grey: np.ndarray, white: float) -> dict[str, float]:
    mean = _mean(grey)
    deviation = grey - np.float32(mean)
    contrast = float(np.sqrt(_mean(np.square(deviation, out=deviation))))
    sharpness, noise = _edges_and_noise(grey) if min(grey.shape) >= 3 else (0.0, 0.0)
    saturation = _channel_spread(centre) / white
    return {"brightness": mean, "contrast": contrast, "sharpness": sharpness, "noise": noise, "saturation": saturation}


def of_inspection(image: np.ndarray, prediction: Prediction) -> dict[str, float]:
    """Return all descriptors for drift monitoring: pixel descriptors, score, and the embedding's projection."""
    return with_prediction(of_pixels(image), prediction)


def with_prediction(described: Mapping[str, float], prediction: Prediction) -> dict[str, float]:
    """Return the pixel descriptors from `of_pixels` with score and projection, as `of_inspection` does."""
    axes = {f"projection_{axis}": float(value) for axis, value in enumerate(prediction.projection)}
    return {**described, "score": float(prediction.score), **axes}


def of_part(images: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the descriptors of a part: those of its most suspicious image.

    Averages would vary less with more images per part, and a dataset may have more images per part than production.
    """
    return dict(max(images, key=lambda one: one["score"]))


def _mean(values: np.ndarray) -> float:
    """Return the mean, summed in double precision, so that the summation order of different processors does not matter."""
    return float(values.mean(dtype=np.float64))


def _grey(image: np.ndarray) -> np.ndarray:
    """Return grey values, float32 H×W, in the image's own units."""
    if image.shape[2] == 1:
        return image[..., 0].astype(np.float32)
    red, green, blue = (image[..., channel] * np.float32(weight) for channel, weight in enumerate(_GREY))
    return red + green + blue


def _channel_spread(image: np.ndarray) -> float:
    if image.shape[2] == 1:
        return 0.0
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    largest, smallest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return float((largest - smallest).mean())


def _edges_and_noise(grey: np.ndarray) -> tuple[float, float]:
    # Second differences along each axis; the Laplacian is their sum on the inner pixels, and Immerkær's mask
    # [[1,-2,1],[-2,4,-2],[1,-2,1]] is the one taken of the other.
    twice = 2 * grey[1:-1]
    down = grey[:-2] + grey[2:]
    down -= twice
    across = grey[1:-1, :-2] + grey[1:-1, 2:]
    across -= twice[:, 1:-1]
    across += down[:, 1:-1]
    mixed = down[:, :-2] + down[:, 2:]
    mixed -= np.multiply(down[:, 1:-1], 2, out=twice[:, 1:-1])
    sharpness = _mean(np.abs(across, out=across)) / 4
    return sharpness, float(np.sqrt(np.pi / 2) * _mean(np.abs(mixed, out=mixed)) / 6)


def _centre(image: np.ndarray) -> np.ndarray:
    top, left = (max(0, (side - _CENTRE_PX) // 2) for side in image.shape[:2])
    return image[top : top + _CENTRE_PX, left : left + _CENTRE_PX]
