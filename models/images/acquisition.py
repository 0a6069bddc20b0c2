"""What a station does to every image when its light, lens or camera changes. Pixels in, pixels of the same shape and type
out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy import ndimage

Change = Callable[[np.ndarray], np.ndarray]


def changes(colour: bool) -> Mapping[str, Change]:
    """Return changes of H×W×C uint8 or uint16 images by their name in words; white balance only with `colour`."""
    named: dict[str, Change] = {
        f"{percent} % {'less' if sign < 0 else 'more'} light": _scaled(1 + sign * percent / 100)
        for percent in (10, 20)
        for sign in (-1, 1)
    }
    named |= {f"{percent} % {word} contrast": _contrast(1 + by) for percent, word, by in _CONTRASTS}
    named |= {f"light that fades {where}": _fading(turns) for turns, where in enumerate(_SIDES)}
    named |= {f"less focus (blur of {sigma} px)": _blurred(sigma) for sigma in (0.7, 1.5)}
    named |= {f"more noise (σ {sigma} of 255)": _noisy(sigma) for sigma in (2, 5)}
    named |= {f"a camera moved {where}": _moved(down, right) for where, down, right in _MOVES}
    named |= {f"an image turned by {90 * turns}°": _turned(turns) for turns in (1, 2, 3)}
    named |= {"a mirrored image": lambda image: image[:, ::-1]}
    named |= {f"a distance {abs(by)} % {'nearer' if by > 0 else 'farther'}": _zoomed(1 + by / 100) for by in (-4, 4)}
    if colour:
        named |= {f"more {name} light": _tinted(channel) for channel, name in enumerate(("red", "green", "blue"))}
    return named


_CONTRASTS = ((15, "less", -0.15), (15, "more", 0.15))
_SIDES = ("to the right", "to the top", "to the left", "to the bottom")
_MOVES = (("down", 0.02, 0), ("up", -0.02, 0), ("right", 0, 0.02), ("left", 0, -0.02))
_FADED = 0.85  # light at the darker side
_TINT = 1.08


def _on_scale(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, np.iinfo(like.dtype).max).astype(like.dtype)


def _scaled(factor: float) -> Change:
    return lambda image: _on_scale(image * np.float32(factor), image)


def _contrast(factor: float) -> Change:
    def change(image: np.ndarray) -> np.ndarray:
        mean = image.mean(dtype=np.float64)
        return _on_scale((image - mean) * factor + mean, image)

    return change


def _fading(turns: int) -> Change:
    def change(image: np.ndarray) -> np.ndarray:
        turned = np.rot90(image, -turns)
        ramp = np.linspace(1, _FADED, turned.shape[1], dtype=np.float32)
        return np.rot90(_on_scale(turned * ramp[None, :, None], image), turns)

    return change


def _blurred(sigma: float) -> Change:
    return lambda image: _on_scale(ndimage.gaussian_filter(image.astype(np.float32), (sigma, sigma, 0)), image)


def _noisy(sigma: float) -> Change:
    def change(image: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(0).normal(0, sigma / 255 * np.iinfo(image.dtype).max, image.shape)
        return _on_scale(image + noise, image)

    return change


def _moved(down: float, right: float) -> Change:
    def change(image: np.ndarray) -> np.ndarray:
        pixels = [round(share * side) for share, side in zip((down, right), image.shape[:2], strict=True)]
        padded = np.pad(image, (*((abs(shift), abs(shift)) for shift in pixels), (0, 0)), mode="edge")
        top, left = (abs(shift) - shift for shift in pixels)
        return padded[top : top + image.shape[0], left : left + image.shape[1]]

    return change


def _turned(turns: int) -> Change:
    return lambda image: np.rot90(image, turns)


def _zoomed(factor: float) -> Change:
    def change(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        rows, columns = (
            np.clip(np.round((np.arange(side) - (side - 1) / 2) / factor + (side - 1) / 2), 0, side - 1).astype(int)
            for side in (height, width)
        )
        return image[rows[:, None], columns[None, :]]

    return change


def _tinted(channel: int) -> Change:
    def change(image: np.ndarray) -> np.ndarray:
        factor = np.ones(image.shape[2], np.float32)
        factor[channel] = _TINT
        return _on_scale(image * factor, image)

    return change
