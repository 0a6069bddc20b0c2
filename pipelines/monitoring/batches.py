"""How much the mean of successive parts varies, relative to independent parts of the reference. Pure.

Parts of one batch look alike, and light wanders over a day, so the mean of a window varies more than its number of parts
suggests. The factor follows from the autocorrelation of earlier production. It is estimated from the squared differences of
parts by their distance (the variogram; Cressie, Statistics for Spatial Data, 1993), averaged over distances 1, 2, 3–4, 5–8,
…
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

FARTHEST = 1024  # largest distance between two parts
SHARE = 4  # distances go up to this fraction of the history
BEFORE_ANY = 8.0  # factor that is assumed without history: production in batches of eight equal parts
WORTH = 100.0  # parts of history that this assumption counts for


def factors(history: np.ndarray, windows: tuple[int, ...]) -> np.ndarray:
    """Return by how much the variance of a window's mean exceeds that of independent parts with variance 1, [w, d].

    `history` [n, d] are earlier parts, oldest first, on the scale of the reference. The less history, the closer the factor
    is to `BEFORE_ANY`. Never below 1.
    """
    n = len(history)
    correlation, variance, error = autocorrelation(history)
    measured = np.stack([variance * _of_mean(correlation, window) * (1 + 2 * error) for window in windows])
    weight = n / (n + WORTH)
    shrunk: np.ndarray = np.exp(weight * np.log(np.maximum(measured, 1.0)) + (1 - weight) * np.log(BEFORE_ANY))
    return shrunk


def autocorrelation(history: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the autocorrelation of `history` [n, d] at distances 1 … k, [k, d]; the variance of distant parts, [d]; and the
    relative standard error of their sum, [d] (Sokal, Monte Carlo Methods in Statistical Mechanics, 1997).

    A correlation ends at the distance from which it is no longer positive (Geyer, Practical Markov Chain Monte Carlo, 1992).
    """
    n, d = history.shape
    bins = int(np.log2(max(1, min(FARTHEST, n // SHARE))))
    if bins < 2:
        return np.zeros((0, d)), np.ones(d), np.zeros(d)
    variogram = _variogram(history, 2**bins)
    edges = [0, *(2**power for power in range(bins + 1))]
    in_bins = np.stack([variogram[start:end].mean(axis=0) for start, end in pairwise(edges)])
    variance = in_bins[-1]
    correlation = 1 - in_bins / np.maximum(variance, 1e-9)
    positive = np.logical_and.accumulate(correlation > 0, axis=0)
    by_distance = np.repeat(np.where(positive, correlation, 0.0), np.diff(edges), axis=0)
    reach = (by_distance > 0).sum(axis=0)
    return by_distance, variance, np.sqrt(2 * (2 * reach + 1) / n)


def _of_mean(correlation: np.ndarray, n: int) -> np.ndarray:
    distances = np.arange(1, min(len(correlation), n - 1) + 1)
    weighted: np.ndarray = (1 - distances / n)[:, None] * correlation[: len(distances)]
    factor: np.ndarray = 1 + 2 * weighted.sum(axis=0)
    return factor


def _variogram(rows: np.ndarray, distances: int) -> np.ndarray:
    """Return half the mean squared difference of rows at each distance 1 … `distances`, [distances, d]."""
    n = len(rows)
    transformed = np.fft.rfft(rows, 2 * n, axis=0)
    products = np.fft.irfft(np.abs(transformed) ** 2, axis=0)[1 : distances + 1]  # sums of x[t] x[t + k]
    squares = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows**2, axis=0)])
    k = np.arange(1, distances + 1)
    both = squares[n - k] + squares[n] - squares[k]
    variogram: np.ndarray = (both - 2 * products) / (2 * (n - k))[:, None]
    return variogram
