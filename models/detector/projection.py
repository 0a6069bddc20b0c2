"""Principal axes on which data drift of embeddings is measured. Pure."""

from __future__ import annotations

import numpy as np

_LEAST_SPREAD = 1e-6


def principal_axes(embedding: np.ndarray, axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean [d] and at most `axes` principal axes [d, k] of embeddings [n, d], scaled to unit variance."""
    centre = embedding.mean(0)
    _, spread, directions = np.linalg.svd(embedding - centre, full_matrices=False)
    axes = min(axes, len(spread))
    scale = np.maximum(spread[:axes] / np.sqrt(len(embedding)), _LEAST_SPREAD)
    directions = directions[:axes] * np.where(directions[:axes].sum(1) < 0, -1, 1)[:, None]  # fixes the sign
    return centre, (directions / scale[:, None]).T
