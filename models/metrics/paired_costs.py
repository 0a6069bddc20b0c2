"""Is a challenger cheaper, or at most a margin dearer, than the champion on the same parts? Intervals and tests. Pure.

Only the difference of the two versions' costs on each part counts, so what is difficult for both cancels out. Defective and
good parts are separate samples, weighted by the defect rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from models.metrics.costs import PartCosts
from models.params import Cost

DRAWS = 20_000


@dataclass(frozen=True)
class Paired:
    """Cost of the challenger minus cost of the champion on each `defective` [n] and each `good` [m] part. `rate` is the
    share of defective parts to which they are weighted; `escape` and `wrong_good` are the largest possible differences."""

    defective: np.ndarray
    good: np.ndarray
    rate: float
    escape: float
    wrong_good: float

    @property
    def n(self) -> int:
        return len(self.defective) + len(self.good)

    @property
    def value(self) -> float:
        """The mean difference per part; negative if the challenger is cheaper."""
        return sum(weight * float(values.mean()) for weight, values, _ in self.strata())

    @property
    def error(self) -> float:
        """The standard error of `value`."""
        return math.sqrt(sum(weight**2 * values.var() / len(values) for weight, values, _ in self.strata()))

    def strata(self) -> list[tuple[float, np.ndarray, float]]:
        """Return (weight, differences, largest possible difference) of the kinds of parts that are there."""
        both = ((self.rate, self.defective, self.escape), (1 - self.rate, self.good, self.wrong_good))
        return [(weight, values, largest) for weight, values, largest in both if len(values) and weight]


def pair(challenger: PartCosts, champion: PartCosts, rate: float | None, cost: Cost) -> Paired:
    """Pair the costs of both versions on the same parts in the same order. Without a `rate`, or if good or defective parts
    are missing, the parts' own share of defective ones is used."""
    difference, bad = challenger.cost - champion.cost, challenger.defective
    share = float(bad.mean()) if len(bad) else 0.0
    return Paired(
        defective=difference[bad],
        good=difference[~bad],
        rate=share if rate is None or share in (0.0, 1.0) else rate,
        escape=max(cost.escape, cost.review),
        wrong_good=max(cost.overkill, cost.review),
    )


def at_most(paired: Paired, confidence: float, seed: int = 0) -> float:
    """Return a one-sided upper bound of the mean difference.

    Bayesian bootstrap over parts (Rubin, Annals of Statistics 9, 1981) with one more part of each kind, on which the
    difference is the largest possible (Gaffke, 2005; Phan, Thomas and Learned-Miller, ICML 2021). For a share this is the
    exact bound of Clopper and Pearson, so ten parts without a difference do not prove equality, as they would in a plain
    bootstrap. The bounds of the two kinds are combined as in Fay, Proschan and Brittain (Biometrics 71, 2015).
    """
    random, means = np.random.default_rng(seed), np.zeros(DRAWS)
    for weight, values, largest in paired.strata():
        distinct, counts = np.unique(np.append(values, largest), return_counts=True)
        shares = random.standard_gamma(counts, (DRAWS, len(counts)))
        means += weight * (shares @ distinct) / shares.sum(axis=1)
    return float(np.quantile(means, confidence)) if paired.n else math.inf


def chance_if_equal(paired: Paired, seed: int = 0) -> float:
    """Return the p-value of "cheaper": the probability that a challenger that is equal would be at least as much cheaper.

    Random swaps of the two versions' verdicts on each part (Fisher's randomisation test for pairs), exact for two versions
    that differ by chance alone, however few parts they judge differently. 20,000 swaps, counted as in Phipson and Smyth
    (2010), so it is never 0. Where only one price is at stake, it is the sign test.
    """
    random, observed, swapped = np.random.default_rng(seed), 0.0, np.zeros(DRAWS)
    for weight, values, _ in paired.strata():
        observed += weight * values.sum() / len(values)
        sizes, counts = np.unique(np.round(np.abs(values[values != 0]), 12), return_counts=True)
        signs = 2 * random.binomial(counts, 0.5, (DRAWS, len(counts))) - counts
        swapped += weight * (signs @ sizes) / len(values)
    return float(((swapped <= observed + 1e-9).sum() + 1) / (DRAWS + 1))


def reversed_(paired: Paired) -> Paired:
    """Return the same comparison with the champion's and the challenger's place exchanged."""
    return Paired(-paired.defective, -paired.good, paired.rate, paired.escape, paired.wrong_good)


def parts_for_not_worse(paired: Paired, margin: float, confidence: float) -> int:
    """Return how many parts, mixed as these, show an equal challenger to be at most `margin` dearer, with a probability of
    `confidence`: the smallest n with (z + z) · s / √n + e / n ≤ margin.

    s is the standard deviation as observed, z the normal quantile of `confidence`, and e / n what the added part of
    `at_most` contributes (sample size of a non-inferiority trial: Julious, Statistics in Medicine 23, 2004).
    """
    n, z = paired.n, 2 * float(special.ndtri(confidence))
    s = paired.error * math.sqrt(n)
    # With n parts, the added part of a kind weighs 1 / (its number + 1) on average, at the bound -ln(1 - confidence) times.
    e = sum(w * largest * n / len(values) for w, values, largest in paired.strata()) * -math.log(1 - confidence)
    root = (z * s + math.sqrt((z * s) ** 2 + 4 * margin * e)) / (2 * margin)
    return math.ceil(root**2)


def parts_for_cheaper(paired: Paired, level: float) -> int | None:
    """Return how many parts, mixed as these, show a difference as observed at `level` with a probability of one half:
    n = (z · s / difference)². None if the challenger is not cheaper on these parts."""
    if paired.value >= 0:
        return None
    z = float(special.ndtri(1 - level))
    needed = math.ceil(paired.n * (z * paired.error / paired.value) ** 2)
    return max(needed, math.ceil(paired.n * -math.log2(level) / max(_differing(paired), 1)))


def _differing(paired: Paired) -> int:
    return int((paired.defective != 0).sum() + (paired.good != 0).sum())
