"""Finds near duplicates: images that are re-encoded, re-exposed, slightly shifted, rotated or mirrored. Pure.

Parts of one product look alike by design. So images are compared by what they share beyond their nearest neighbours: the
component along the mean of its neighbours is removed from each fingerprint before the comparison. Candidates come from an
inverted-file index over principal components (Faiss; Johnson et al., 2017), so the cost grows with n·√n instead of n².
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy import fft, linalg, ndimage

from models.images.codec import grey

SIDE = 32  # side of a fingerprint in pixels
SIMILAR = 0.65  # correlation beyond the neighbours; chosen on five real datasets (docs/decisions/0008)
IDENTICAL = 0.999  # plain correlation, for frames of one burst, which have only each other as neighbours
FAINT = 0.5  # many pairs between FAINT and SIMILAR mean that this product's parts look alike
_NEIGHBOURS = 40  # nearest neighbours whose mean is removed
_AXES = 64  # principal components for the candidate search
_CELLS_SEARCHED = 16
_SAMPLE = 20_000  # images from which the principal components are computed
_CANDIDATES = {"as it is": 16, "turned or mirrored": 4}  # nearest neighbours that are compared, by transform
_PROMISING = 0.35  # correlation of blurred fingerprints without shift; below it, shifting does not help
_SHIFT = 3  # maximum shift in pixels of the fingerprint
_NO_SPREAD = 1e-3  # minimum variance along an axis
_FLAT = 4.0  # root mean square of a fingerprint without structure
_BATCH = 4096

# The eight symmetries of a square: quarter turns, then the same mirrored.
TRANSFORMS = tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4))


@dataclass(frozen=True)
class Pair:
    """Two images by index, first < second; `transform` (quarter turns, mirrored) aligns the first with the second."""

    first: int
    second: int
    similarity: float  # correlation, at most 1
    transform: tuple[int, bool]


def fingerprint(image: np.ndarray) -> np.ndarray:
    """Return int8 [32, 32] of H×W×C pixels: local contrast on a logarithmic scale, independent of exposure and shading."""
    small = Image.fromarray(grey(image)).resize((SIDE, SIDE), Image.Resampling.BOX)
    logs = np.log(np.asarray(small) + 0.02)
    detail = logs - ndimage.gaussian_filter(logs, 3)
    strength = np.sqrt(ndimage.gaussian_filter(detail**2, 4)) + 0.02
    return np.clip(np.round(detail / strength * 32), -127, 127).astype(np.int8)


def find(fingerprints: np.ndarray, new: Sequence[int] | None = None, least: float = SIMILAR) -> list[Pair]:
    """Return pairs of near duplicates among int8 [n, 32, 32], most similar first; with `new`, only pairs with one of these.

    Deterministic. Images without structure have no near duplicates. `models.images.part_grouping` decides which pairs show
    one part; it also needs the faint ones: `least=FAINT`.
    """
    usable = np.flatnonzero(_structured(fingerprints))
    if len(usable) < 2:
        return []
    asked = np.arange(len(usable)) if new is None else np.flatnonzero(np.isin(usable, np.asarray(list(new), dtype=int)))
    search = _Search(fingerprints if len(usable) == len(fingerprints) else fingerprints[usable])
    pairs: dict[tuple[int, int], Pair] = {}
    for transform in TRANSFORMS:
        first, second = search.candidates(asked, transform)
        similarity = search.similarity(first, second, transform)
        for at in np.flatnonzero(similarity >= least):
            pair = _ordered(int(usable[first[at]]), int(usable[second[at]]), float(similarity[at]), transform)
            earlier = pairs.get((pair.first, pair.second))
            if earlier is None or pair.similarity > earlier.similarity:
                pairs[(pair.first, pair.second)] = pair
    return sorted(pairs.values(), key=lambda pair: (-pair.similarity, pair.first, pair.second))


class _Search:
    """An index over fingerprints int8 [n, 32, 32], with the sum of each one's neighbours."""

    def __init__(self, fingerprints: np.ndarray) -> None:
        self.prints = fingerprints
        n = len(fingerprints)
        sample = _flat(fingerprints[np.random.default_rng(0).permutation(n)[:_SAMPLE]])
        self.mean = sample.mean(axis=0)
        self.axes = _principal_axes(sample - self.mean)
        described = self._describe(fingerprints)
        self.index = _index(described)
        self.neighbours = _nearest(self.index, described, min(_NEIGHBOURS, n - 1))
        self.common = _sums(fingerprints, self.neighbours)

    def candidates(self, asked: np.ndarray, transform: tuple[int, bool]) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices (first, second) of candidate pairs. `transform` is applied to the first."""
        plain = transform == TRANSFORMS[0]
        wanted = _CANDIDATES["as it is" if plain else "turned or mirrored"]
        near = np.concatenate([self._near(rows, transform, wanted) for rows in _blocks(asked)])
        first, second = np.repeat(asked.astype(np.int32), near.shape[1]), near.ravel()
        keep = (second >= 0) & (second != first)
        first, second = first[keep], second[keep]
        if plain:  # each pair once; the same pair is found from both sides
            n = len(self.prints)
            pairs = np.unique(np.minimum(first, second).astype(np.int64) * n + np.maximum(first, second))
            first, second = (pairs // n).astype(np.int32), (pairs % n).astype(np.int32)
        return first, second

    def _near(self, asked: np.ndarray, transform: tuple[int, bool], wanted: int) -> np.ndarray:
        described = self._describe(_laid(self.prints[asked], transform))
        return self.index.search(described, min(wanted + 1, len(self.prints)))[1].astype(np.int32)

    def similarity(self, first: np.ndarray, second: np.ndarray, transform: tuple[int, bool]) -> np.ndarray:
        scores = np.zeros(len(first), dtype=np.float32)
        for start in range(0, len(first), _BATCH):
            rows = slice(start, start + _BATCH)
            scores[rows] = self._similarity(first[rows], second[rows], transform)
        return scores

    def _similarity(self, first: np.ndarray, second: np.ndarray, transform: tuple[int, bool]) -> np.ndarray:
        own, other = (
            _laid(self._beyond(a, b), way) for a, b, way in ((first, second, transform), (second, first, (0, False)))
        )
        scores = np.zeros(len(first), dtype=np.float32)
        promising = np.flatnonzero(_correlation(_blurred(own), _blurred(other)) >= _PROMISING)
        if len(promising):
            scores[promising] = _correlation_moved(own[promising], other[promising])
        plain = _correlation(
            _laid(self.prints[first].astype(np.float32), transform), self.prints[second].astype(np.float32)
        )
        return np.where(plain >= IDENTICAL, plain, scores)

    def _beyond(self, images: np.ndarray, partners: np.ndarray) -> np.ndarray:
        """Return float32 [len, 32, 32]: each image without its component along its neighbours' mean, partner excluded."""
        own, partner = _flat(self.prints[images]), _flat(self.prints[partners])
        among = (self.neighbours[images] == partners[:, None]).any(axis=1)
        common = _centred(self.common[images] - np.where(among[:, None], partner, 0))
        own = _centred(own)
        size = np.einsum("ij,ij->i", common, common)
        share = np.einsum("ij,ij->i", own, common) / np.maximum(size, 1e-6)
        return (own - np.maximum(share, 0)[:, None] * common).reshape(-1, SIDE, SIDE)

    def _describe(self, fingerprints: np.ndarray) -> np.ndarray:
        described = np.empty((len(fingerprints), self.axes.shape[1]), np.float32)
        for start in range(0, len(fingerprints), _BATCH):
            rows = slice(start, start + _BATCH)
            described[rows] = (_flat(fingerprints[rows]) - self.mean) @ self.axes
        return described / np.maximum(np.linalg.norm(described, axis=1, keepdims=True), 1e-6)


def _principal_axes(centred: np.ndarray) -> np.ndarray:
    """Return the principal axes float32 [1024, d], scaled so that common axes do not dominate.

    With fewer images than pixels, the Gram matrix of the images is decomposed (Turk & Pentland, 1991), which takes
    milliseconds instead of half a second for the 1024 × 1024 covariance.
    """
    n, pixels = centred.shape
    keep = min(_AXES, n)
    if n < pixels:
        variances, weights = np.linalg.eigh((centred @ centred.T).astype(np.float64) / n)
        variances = np.maximum(variances[::-1][:keep], _NO_SPREAD)
        axes = centred.T @ weights[:, ::-1][:, :keep] / np.sqrt(n * variances)
    else:
        covariance = (centred.T @ centred).astype(np.float64) / n
        variances, axes = linalg.eigh(covariance, subset_by_index=(pixels - keep, pixels - 1))
        variances, axes = np.maximum(variances[::-1], _NO_SPREAD), axes[:, ::-1]
    return (axes / variances**0.25).astype(np.float32)


def _blocks(places: np.ndarray) -> list[np.ndarray]:
    return [places[start : start + _BATCH] for start in range(0, max(len(places), 1), _BATCH)]


def _index(described: np.ndarray) -> Any:
    """Return a Faiss index by cosine: exact for few images, else an inverted file. Imported here, as it loads OpenMP."""
    import faiss

    n, axes = described.shape
    kind = "Flat" if n < _BATCH else f"IVF{int(2 * n**0.5)},Flat"
    index: Any = faiss.index_factory(axes, kind, faiss.METRIC_INNER_PRODUCT)
    if n >= _BATCH:
        index.nprobe = _CELLS_SEARCHED
        index.train(described)
    index.add(described)
    return index


def _structured(fingerprints: np.ndarray) -> np.ndarray:
    """Return bool [n]: whether a fingerprint has structure. In blocks, because float32 takes four times the memory."""
    blocks = (fingerprints[start : start + _BATCH] for start in range(0, len(fingerprints), _BATCH))
    parts = [np.sqrt((block.astype(np.float32) ** 2).mean(axis=(1, 2))) > _FLAT for block in blocks]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)


def _nearest(index: Any, described: np.ndarray, k: int) -> np.ndarray:
    """Return int32 [n, k] indices of the nearest others, −1 if the searched cells contain fewer."""
    nearest = np.empty((len(described), k), np.int32)
    for start in range(0, len(described), _BATCH):
        _, near = index.search(described[start : start + _BATCH], k + 1)
        others = np.where(near == np.arange(start, start + len(near))[:, None], -2, near)
        order = np.argsort(others == -2, axis=1, kind="stable")  # the image itself goes last and is cut off
        nearest[start : start + len(near)] = np.maximum(np.take_along_axis(others, order, axis=1)[:, :k], -1)
    return nearest


def _sums(fingerprints: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Return int16 [n, 1024]: the sum of each image's neighbours (at most 40, so that it fits).

    This largest table is in a temporary file, so that the system can write it out when memory is short.
    """
    with tempfile.TemporaryFile() as backing:
        backing.truncate(len(fingerprints) * SIDE * SIDE * 2)
        sums = np.memmap(backing, np.int16, "r+", shape=(len(fingerprints), SIDE * SIDE))
    flat = fingerprints.reshape(len(fingerprints), -1)
    for start in range(0, len(fingerprints), _BATCH):
        rows = slice(start, start + _BATCH)
        for column in neighbours[rows].T:
            sums[rows] += np.where((column >= 0)[:, None], flat[column], 0)
    return sums


def _laid(prints: np.ndarray, transform: tuple[int, bool]) -> np.ndarray:
    turns, mirrored = transform
    turned = np.rot90(prints, turns, axes=(1, 2))
    return turned[:, :, ::-1] if mirrored else turned


def _blurred(prints: np.ndarray) -> np.ndarray:
    return prints[:, ::2, ::2] + prints[:, 1::2, ::2] + prints[:, ::2, 1::2] + prints[:, 1::2, 1::2]


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation, row by row."""
    a, b = (_centred(values) for values in (a, b))
    return np.einsum("ij,ij->i", a, b) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-6)


def _correlation_moved(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the largest circular correlation over shifts of at most `_SHIFT` pixels."""
    a, b = (_centred(values).reshape(-1, SIDE, SIDE) for values in (a, b))
    spectrum = fft.rfft2(a, workers=-1) * np.conj(fft.rfft2(b, workers=-1))
    everywhere = np.roll(fft.irfft2(spectrum, (SIDE, SIDE), workers=-1), (_SHIFT, _SHIFT), axis=(1, 2))
    window = everywhere[:, : 2 * _SHIFT + 1, : 2 * _SHIFT + 1]
    size = np.linalg.norm(a, axis=(1, 2)) * np.linalg.norm(b, axis=(1, 2))
    return window.max(axis=(1, 2), initial=-1) / np.maximum(size, 1e-6)


def _centred(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(len(values), -1)
    return flat - flat.mean(axis=1, keepdims=True)


def _flat(prints: np.ndarray) -> np.ndarray:
    return prints.reshape(len(prints), -1).astype(np.float32)


def _ordered(first: int, second: int, similarity: float, transform: tuple[int, bool]) -> Pair:
    if first < second:
        return Pair(first, second, similarity, transform)
    turns, mirrored = transform
    inverse = transform if mirrored else ((4 - turns) % 4, False)
    return Pair(second, first, similarity, inverse)
