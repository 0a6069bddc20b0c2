"""Decides which near duplicates are images of one part. Pure.

Good parts of one product look alike, so the necessary similarity depends on the product. If near duplicates are rare and
stand out, all of them are accepted. If the product's parts look alike, only saved copies of one photograph are accepted:
pairs whose residual (`models.images.same_photograph`) is far below the residuals between this product's parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.images.near_duplicates import SIMILAR, Pair
from models.images.same_photograph import residual

# This product's parts look alike if faint pairs exceed these shares, of images and of the pairs that stand out. Both values
# lie between those of real datasets that do and do not (docs/decisions/0008).
COMMON, NOT_RARE = 1 / 20, 1 / 4
CLOSEST, BESIDE = 0.05, 0.25  # quantiles of the residuals between parts
TAIL = 2  # extrapolation below the lower quantile, in distances between the two quantiles
CLOSER = 8  # minimum factor below the lower quantile
LARGEST_RESIDUAL = 1e-3  # maximum residual of a copy
_PARTNERS = 3  # most similar partners of an image that are compared by residual
_COMPARED = 10_000  # maximum pairs, some milliseconds each
_REFERENCES = 200  # pairs from which the residuals between parts are estimated
_FEW = 20  # fewer references are too few for quantiles

Tones = Callable[[Sequence[int]], np.ndarray]  # float32 [k, 48, 48] (`same_photograph.tones`) of images by index


@dataclass(frozen=True)
class Grouping:
    """Result of the grouping; images are given by index.

    same       disjoint groups of images of one part
    alike      ungrouped images in doubted pairs, whose parts may only look alike
    believed   pairs that show one part, most similar first
    doubted    pairs above SIMILAR that are not accepted, because this product's parts look alike
    """

    same: list[list[int]]
    alike: list[int]
    believed: list[Pair]
    doubted: list[Pair]


def group(
    pairs: Sequence[Pair],
    n_images: int,
    tones: Tones,
    *,
    n_asked: int | None = None,
    new: Collection[int] | None = None,
    part_of: Sequence[int] | None = None,
    weights: Mapping[int, int] | None = None,
) -> Grouping:
    """Decide which of `pairs` (most similar first, including faint ones) show one part.

    `n_asked` is the number of images whose pairs were searched; default: all. With `new`, only pairs with one of these are
    joined. Images with the same number in `part_of` are already one part; groups then consist of these numbers, and
    `weights` are their numbers of images. Groups are compact: two sets are only merged if at least half of the pairs between
    them are accepted.
    """
    part = range(n_images) if part_of is None else part_of
    pairs = [pair for pair in pairs if part[pair.first] != part[pair.second]]
    limit = most_of_one_part(n_images)
    likely = [pair for pair in pairs if pair.similarity >= SIMILAR]
    if _crowded(likely, part, weights or {}, limit) or look_alike(pairs, n_asked or n_images):
        believed = _copies(pairs, tones)
        if _crowded(believed, part, weights or {}, limit):
            believed = []
    else:
        believed = likely
    joining = [pair for pair in believed if new is None or pair.first in new or pair.second in new]
    same = _compact(_between(joining, part))
    grouped = {number for members in same for number in members}
    kept = set(believed)
    doubted = [pair for pair in likely if pair not in kept]
    alike = sorted({place for pair in doubted for place in (pair.first, pair.second) if part[place] not in grouped})
    return Grouping(same, alike, believed, doubted)


def look_alike(pairs: Sequence[Pair], n_asked: int) -> bool:
    """Return whether different parts look alike among these images.

    Images of one part form small connected sets, so a faint pair between such sets shows different parts. If these are
    common, also relative to the pairs that stand out, the latter are only the upper end of the same distribution.
    """
    likely = [pair for pair in pairs if pair.similarity >= SIMILAR]
    set_of = {place: number for number, members in enumerate(connected(likely)) for place in members}
    faint = sum(
        pair.similarity < SIMILAR and set_of.get(pair.first, -1) != set_of.get(pair.second, -2) for pair in pairs
    )
    return faint > COMMON * n_asked and faint > NOT_RARE * len(likely)


def same_photographs(pairs: Sequence[Pair], asked: Collection[Pair], tones: Tones) -> set[Pair]:
    """Return which pairs of `asked` surely are copies of one photograph. `pairs` are all pairs, most similar first.

    Where this product's parts look alike, a copy must be far closer than they are to each other.
    """
    if not asked:
        return set()
    rank = _ranks(pairs)
    references = _reference_pairs(pairs, rank)
    compared = [pair for pair in pairs if pair in asked][:_COMPARED]
    left = _residuals([*references, *compared], tones)
    bar = _bar(np.array([left[pair] for pair in references])) if len(references) >= _FEW else LARGEST_RESIDUAL
    return {pair for pair in compared if left[pair] <= min(bar, LARGEST_RESIDUAL)}


def most_of_one_part(n_images: int) -> int:
    """Return the maximum size of a group: a tenth of all images, but at least 12 and at most 30."""
    return min(30, max(12, n_images // 10))


def connected(pairs: Sequence[Pair]) -> list[list[int]]:
    """Return the connected components of pairs, ordered by index."""
    root: dict[int, int] = {}

    def top(number: int) -> int:
        while root.setdefault(number, number) != number:
            root[number] = root[root[number]]
            number = root[number]
        return number

    for pair in pairs:
        low, high = sorted((top(pair.first), top(pair.second)))
        root[high] = low
    members: dict[int, list[int]] = {}
    for number in sorted(root):
        members.setdefault(top(number), []).append(number)
    return sorted(members.values())


def _crowded(pairs: Sequence[Pair], part: Sequence[int], weights: Mapping[int, int], limit: int) -> bool:
    """Return whether pairs connect more images than one part can plausibly have."""
    return any(
        sum(weights.get(number, 1) for number in members) > limit for members in connected(_between(pairs, part))
    )


def _between(pairs: Sequence[Pair], part: Sequence[int]) -> list[Pair]:
    """Return the most similar pair between each two parts, most similar first."""
    best: dict[tuple[int, int], Pair] = {}
    for pair in pairs:
        first, second = sorted((part[pair.first], part[pair.second]))
        if first != second and (first, second) not in best:
            best[first, second] = Pair(first, second, pair.similarity, pair.transform)
    return list(best.values())


def _copies(pairs: Sequence[Pair], tones: Tones) -> list[Pair]:
    """Return the pairs that are copies of one photograph: far closer than different parts of this product.

    The closeness of parts is estimated on pairs of images that have several more similar partners, because copies are few.
    If photographs were saved many times, such pairs include copies, and fewer are accepted.
    """
    rank = _ranks(pairs)
    references = _reference_pairs(pairs, rank)
    promising = [pair for pair in pairs if max(rank[pair]) < _PARTNERS][:_COMPARED]
    left = _residuals([*references, *promising], tones)
    between_parts = np.array([left[pair] for pair in references])
    bar = _bar(between_parts) if len(between_parts) >= _FEW else min(left.values(), default=0.0) / CLOSER
    return [pair for pair in promising if left[pair] <= min(bar, LARGEST_RESIDUAL)]


def _reference_pairs(pairs: Sequence[Pair], rank: Mapping[Pair, tuple[int, int]]) -> list[Pair]:
    """Return pairs that show different parts of this product, if its parts look alike."""
    references = [pair for pair in pairs if max(rank[pair]) >= _PARTNERS]
    return [references[number] for number in np.random.default_rng(0).permutation(len(references))[:_REFERENCES]]


def _residuals(pairs: Sequence[Pair], tones: Tones) -> dict[Pair, float]:
    places = sorted({place for pair in pairs for place in (pair.first, pair.second)})
    tone = dict(zip(places, tones(places), strict=True))
    return {pair: residual(tone[pair.first], tone[pair.second], pair.transform) for pair in pairs}


def _bar(between_parts: np.ndarray) -> float:
    """Return a residual that different parts of this product practically never reach.

    The lower tail is extrapolated on a logarithmic scale by twice the distance between two of its quantiles.
    """
    low, middle = np.maximum(np.quantile(between_parts, (CLOSEST, BESIDE)), 1e-12)
    return float(low * min(1 / CLOSER, (low / middle) ** TAIL))


def _ranks(pairs: Sequence[Pair]) -> dict[Pair, tuple[int, int]]:
    """Return for each pair how many pairs of either image are more similar."""
    before: Counter[int] = Counter()
    ranks = {}
    for pair in pairs:
        ranks[pair] = before[pair.first], before[pair.second]
        before.update((pair.first, pair.second))
    return ranks


def _compact(pairs: Sequence[Pair]) -> list[list[int]]:
    """Merge groups, most similar first, if at least half of all pairs between them are present, to avoid chains."""
    linked = {(pair.first, pair.second) for pair in pairs}
    side: dict[int, list[int]] = {}
    for pair in pairs:
        left, right = side.setdefault(pair.first, [pair.first]), side.setdefault(pair.second, [pair.second])
        if left is right:
            continue
        across = sum((min(a, b), max(a, b)) in linked for a in left for b in right)
        if 2 * across >= len(left) * len(right):
            left.extend(right)
            side.update(dict.fromkeys(right, left))
    groups = {id(members): sorted(members) for members in side.values() if len(members) > 1}
    return sorted(groups.values())
