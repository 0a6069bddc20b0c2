"""The residual between two images after alignment: nearly zero for two copies of one photograph. Pure.

A copy differs from its original only by light, crop, orientation and compression. So one image is aligned with the other:
affine motion, scaled brightness and smooth shading (Gauss–Newton on the grey values; Lucas and Kanade, 1981; Baker and
Matthews, 2004). The residual is the share of the other's variance that remains. Compression artefacts nearly vanish at this
scale, while different parts differ at every scale.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from models.images.codec import grey

SIDE = 48  # side of the compared images in pixels
_BORDER = 4  # ignored, because a cropped image lacks it
_BLUR = 2.25  # pixels
_STEPS = 4  # steps of the alignment
_LARGEST_STEP = 3.0
_LEAST_OVERLAP = 0.7
_FAR = 1.0  # residual of images that cannot be aligned

_ROWS, _COLUMNS = (axis / 1.0 for axis in np.mgrid[:SIDE, :SIDE])
_INNER = np.s_[_BORDER:-_BORDER, _BORDER:-_BORDER]
_SHADING = np.stack(
    [power[_INNER].ravel() for power in (_ROWS**0, _ROWS, _COLUMNS, _ROWS**2, _COLUMNS**2, _ROWS * _COLUMNS)], axis=1
)


def tones(image: np.ndarray) -> np.ndarray:
    """Return mean grey values, float32 [48, 48], of H×W×C pixels."""
    return np.asarray(Image.fromarray(grey(image)).resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float32)


def residual(first: np.ndarray, second: np.ndarray, transform: tuple[int, bool]) -> float:
    """Return the share of `second`'s variance not explained by `first`, 0 to 1. `transform` as in `near_duplicates.Pair`."""
    turns, mirrored = transform
    laid = np.rot90(first, turns)
    laid = laid[:, ::-1] if mirrored else laid
    source, target = (
        ndimage.gaussian_filter(image.astype(np.float64), _BLUR, mode="nearest") for image in (laid, second)
    )
    spline = ndimage.spline_filter(source, mode="nearest")
    variance = max(float(target[_INNER].var()), 1e-9)
    rows, columns = _ROWS, _COLUMNS
    left = _FAR
    for _ in range(_STEPS):
        inside = ((rows > 0) & (rows < SIDE - 1) & (columns > 0) & (columns < SIDE - 1))[_INNER].ravel()
        if inside.mean() < _LEAST_OVERLAP:
            break
        warped = ndimage.map_coordinates(spline, [rows, columns], mode="nearest", prefilter=False)
        down, across = np.gradient(warped)
        moves = [values * axis for values in (down, across) for axis in (1, _ROWS, _COLUMNS)]
        design = np.stack([values[_INNER].ravel() for values in (warped, *moves)], axis=1)[inside]
        design = np.hstack([design, _SHADING[inside]])
        wanted = target[_INNER].ravel()[inside]
        scale = np.maximum(np.linalg.norm(design, axis=0), 1e-9)
        design /= scale
        share = np.linalg.lstsq(design.T @ design, design.T @ wanted, rcond=1e-10)[0]
        left = min(left, float(((wanted - design @ share) ** 2).mean()) / variance)
        share /= scale
        move = np.clip(share[1:7] / max(abs(share[0]), 0.05), -_LARGEST_STEP, _LARGEST_STEP)
        rows = rows + move[0] + move[1] * _ROWS + move[2] * _COLUMNS
        columns = columns + move[3] + move[4] * _ROWS + move[5] * _COLUMNS
    return left
