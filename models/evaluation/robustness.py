"""How many verdicts change when an image changes in a way that leaves the part as it is. Runs a detector; reads no files.

A line's light ages, a camera is turned, a gateway compresses: what a detector says about the same part shall not depend
on it. The expected behaviour is tested as a metric (invariance tests; Ribeiro et al., 2020).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from models.detector.runtime import Detector
from models.images.codec import to_rgb8
from models.vocabulary import Verdict

BRIGHTNESS = 0.1  # of the pixels' values, up and down
SHIFT = 0.02  # of the sides
JPEG_QUALITY = 75


@dataclass(frozen=True)
class Robustness:
    """Shares of images whose verdict changes with the image, and whose verdict flips from pass to fail or back."""

    n: int
    changed: float
    flipped: float
    mean_score_change: float  # of the calibrated score, absolute

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def changes(image: np.ndarray) -> Mapping[str, np.ndarray]:
    """The same part under other circumstances; `image` H×W×C of uint8 or uint16."""
    return {name: np.ascontiguousarray(change(image)) for name, change in CHANGES.items()}


def measure(detector: Detector, images: Iterable[np.ndarray], show: Callable[[int], None]) -> dict[str, Robustness]:
    """Robustness by change, empty without images. `show` is told after each image how many are done."""
    scores: list[list[float]] = []
    for done, image in enumerate(images, start=1):
        scores.append([detector.predict(variant).score for variant in (image, *changes(image).values())])
        show(done)
    if not scores:
        return {}
    every = np.array(scores)
    verdicts = np.array([[detector.verdict(score) for score in row] for row in scores])
    before = verdicts[:, 0]
    return {
        name: Robustness(
            n=len(every),
            changed=float((verdicts[:, at] != before).mean()),
            flipped=float(_flipped(before, verdicts[:, at]).mean()),
            mean_score_change=float(np.abs(every[:, at] - every[:, 0]).mean()),
        )
        for at, name in enumerate(CHANGES, start=1)
    }


def _flipped(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after) & (before != Verdict.REVIEW) & (after != Verdict.REVIEW)


def _brighter(by: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(image: np.ndarray) -> np.ndarray:
        return np.clip(np.round(image * (1 + by)), 0, np.iinfo(image.dtype).max).astype(image.dtype)

    return change


def _moved(image: np.ndarray) -> np.ndarray:
    down, right = (max(1, round(side * SHIFT)) for side in image.shape[:2])
    return np.pad(image, ((down, 0), (right, 0), (0, 0)), mode="edge")[:-down, :-right]


def _compressed(image: np.ndarray) -> np.ndarray:
    """JPEG holds 8 bits; so does the answer, on the image's scale."""
    sink = io.BytesIO()
    Image.fromarray(to_rgb8(image)).save(sink, format="JPEG", quality=JPEG_QUALITY)
    pixels = np.asarray(Image.open(sink))
    if image.shape[2] == 1:
        pixels = pixels[..., :1]
    return pixels.astype(np.uint16) * np.uint16(257) if image.dtype == np.uint16 else pixels


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "10 % lighter": _brighter(BRIGHTNESS),
    "10 % darker": _brighter(-BRIGHTNESS),
    "mirrored left to right": lambda image: image[:, ::-1],
    "mirrored upside down": lambda image: image[::-1],
    f"saved as JPEG of quality {JPEG_QUALITY}": _compressed,
    "moved by 2 % of the sides": _moved,
}
