"""Robustness: how many verdicts change with light, position or file format of the image, for the same part.

Light ages, cameras are moved and images are compressed; the verdict on a part should not depend on that. The shares are
measured as in invariance tests (Ribeiro et al., 2020).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from models.detector.runtime import Detector
from models.images.codec import to_rgb8
from models.vocabulary import Verdict

BRIGHTNESS = 0.1  # relative change of the pixel values, up and down
SHIFT = 0.02  # relative to the sides
JPEG_QUALITY = 75


@dataclass(frozen=True)
class Robustness:
    """Shares of images whose verdict changes, and whose verdict flips between pass and fail."""

    n: int
    changed: float
    flipped: float
    mean_score_change: float  # mean absolute change of the calibrated score

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def changes(image: np.ndarray) -> Mapping[str, np.ndarray]:
    """Return the changed images by name of the change; `image` is H×W×C, uint8 or uint16."""
    return {name: np.ascontiguousarray(change(image)) for name, change in CHANGES.items()}


def measure(
    detector: Detector, images: Iterable[np.ndarray], unchanged: Sequence[float], show: Callable[[int], None]
) -> dict[str, Robustness]:
    """Measure the robustness by change; empty without images. `unchanged` holds the detector's scores of the images as they
    are. `show` is called with the number of finished images."""
    variants = (variant for image in images for variant in changes(image).values())
    scores: list[float] = []
    for answer in detector.predict_many(variants):
        scores.append(answer.score)
        if len(scores) % len(CHANGES) == 0:
            show(len(scores) // len(CHANGES))
    if not scores:
        return {}
    every = np.column_stack([unchanged, np.reshape(scores, (-1, len(CHANGES)))])
    verdicts = np.array([[detector.verdict(score) for score in row] for row in every.tolist()])
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
    """Compress as JPEG with 8 bits, and return the result on the image's scale."""
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
