"""Decide which near duplicates are pictures of one part. Reads no files.

Good parts of one product look alike, so how alike two images must be depends on the product. Where pairs are few and
stand out, they are believed. Where parts look alike, only a photograph that was saved again is: one whose residual
(`models.images.same_photograph`) is far below the residuals that this product's parts have among each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.images.near_duplicates import SIMILAR, Pair
from models.images.same_photograph import residual

# From so many faint pairs an image on, and so many beside the pairs that stand out, this product's parts look alike.
# Both lie between sets of real images that do and that don't: docs/decisions/0008.
COMMON, NOT_RARE = 1 / 20, 1 / 4
CLOSEST, BESIDE = 0.05, 0.25  # quantiles of the residuals of parts that look alike
TAIL = 2  # how often the way between the two is gone on downwards
CLOSER = 8  # times closer than the closest twentieth at least
LARGEST_RESIDUAL = 1e-3  # of a copy, however unlike the parts are
_PARTNERS = 3  # most similar partners of an image that are compared more closely
_COMPARED = 10_000  # pairs at most, some milliseconds each
_REFERENCES = 200  # pairs that show how alike this product's parts are
_FEW = 20  # references: too few for a quantile

Tones = Callable[[Sequence[int]], np.ndarray]  # float32 [k, 48, 48] (`same_photograph.tones`) of images by place


@dataclass(frozen=True)
class Grouping:
    """What pairs amount to, images by their place in the list.

    same       groups of images that are taken for pictures of one part, no image in two of them
    alike      images in pairs that are doubted, and in no group: their parts may merely look alike
    believed   pairs that show one part, most similar first
    doubted    pairs that would be near duplicates, did this product's parts not look alike
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
    """Decide which pairs, faint ones too and most similar first, are pictures of one part.

    `n_asked` is the number of images whose pairs were looked for, else all. With `new`, only pairs that hold one of these
    join anything. Images with the same number in `part_of` are one part already; the groups then consist of these
    numbers, and `weights` are the images that each stands for. A group is compact: wherever two halves of it were
    joined, at least half of the pairs across were believed.
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
    """Whether likeness is common among these images' parts.

    Pictures of one part are alike among each other, and form small sets that hang together; a faint pair across such
    sets shows different parts. Where these are many, and not few beside the pairs that stand out, the latter are only
    the upper end of the same spread.
    """
    likely = [pair for pair in pairs if pair.similarity >= SIMILAR]
    set_of = {place: number for number, members in enumerate(connected(likely)) for place in members}
    faint = sum(
        pair.similarity < SIMILAR and set_of.get(pair.first, -1) != set_of.get(pair.second, -2) for pair in pairs
    )
    return faint > COMMON * n_asked and faint > NOT_RARE * len(likely)


def most_of_one_part(n_images: int) -> int:
    """Images of one part that grouping accepts without a person: a tenth of all, at least 12 and at most 30."""
    return min(30, max(12, n_images // 10))


def connected(pairs: Sequence[Pair]) -> list[list[int]]:
    """Images connected by pairs, each set and the list in order of the images' places."""
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
    """Whether pairs connect more images than anybody photographs of one part."""
    return any(
        sum(weights.get(number, 1) for number in members) > limit for members in connected(_between(pairs, part))
    )


def _between(pairs: Sequence[Pair], part: Sequence[int]) -> list[Pair]:
    """The pairs between parts, most similar first, each once."""
    best: dict[tuple[int, int], Pair] = {}
    for pair in pairs:
        first, second = sorted((part[pair.first], part[pair.second]))
        if first != second and (first, second) not in best:
            best[first, second] = Pair(first, second, pair.similarity, pair.transform)
    return list(best.values())


def _copies(pairs: Sequence[Pair], tones: Tones) -> list[Pair]:
    """The pairs that are one photograph: far closer than parts of this product are.

    How close the parts are is measured on pairs of images that have several more similar ones, because a copy has few.
    Where photographs were saved many times, such pairs show copies too, and fewer are believed.
    """
    rank = _ranks(pairs)
    references = [pair for pair in pairs if max(rank[pair]) >= _PARTNERS]
    chosen = np.random.default_rng(0).permutation(len(references))[:_REFERENCES]
    references = [references[number] for number in chosen]
    promising = [pair for pair in pairs if max(rank[pair]) < _PARTNERS][:_COMPARED]
    places = sorted({place for pair in (*references, *promising) for place in (pair.first, pair.second)})
    tone = dict(zip(places, tones(places), strict=True))
    left = {pair: residual(tone[pair.first], tone[pair.second], pair.transform) for pair in (*references, *promising)}
    usual = np.array([left[pair] for pair in references])
    bar = _bar(usual) if len(usual) >= _FEW else min(left.values(), default=0.0) / CLOSER
    return [pair for pair in promising if left[pair] <= min(bar, LARGEST_RESIDUAL)]


def _bar(usual: np.ndarray) -> float:
    """A residual that parts of this product practically never reach, from those that pairs of them have.

    The lower tail is carried on: as far again, on a logarithmic scale, as twice the way between two of its quantiles.
    """
    low, middle = np.maximum(np.quantile(usual, (CLOSEST, BESIDE)), 1e-12)
    return float(low * min(1 / CLOSER, (low / middle) ** TAIL))


def _ranks(pairs: Sequence[Pair]) -> dict[Pair, tuple[int, int]]:
    """For each pair, how many of either image's pairs are more alike."""
    before: Counter[int] = Counter()
    ranks = {}
    for pair in pairs:
        ranks[pair] = before[pair.first], before[pair.second]
        before.update((pair.first, pair.second))
    return ranks


def _compact(pairs: Sequence[Pair]) -> list[list[int]]:
    """Merge the most similar first, where at least half of all pairs between the two sides are there: no chains."""
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
