"""A test of a share that may be looked at after every part. Pure."""

from __future__ import annotations

import math

from scipy import special


def evidence_above(hits: int, n: int, expected: float) -> float:
    """Return the evidence that the share of hits is above `expected`, as an e-value.

    It is the likelihood ratio of all larger shares, equally weighted, against `expected`. If the share is at most
    `expected`, it exceeds 1 / α at any time with a probability of at most α (Ville's inequality; Robbins, Annals of
    Mathematical Statistics 41, 1970), so it may be read after every part, as often as anybody likes.
    """
    if expected >= 1:
        return 1.0
    if expected <= 0:
        return math.inf if hits else 1.0
    above = float(special.betaincc(hits + 1, n - hits + 1, expected))
    if above <= 0:
        return 0.0
    log = float(special.betaln(hits + 1, n - hits + 1)) + math.log(above / (1 - expected))
    log -= hits * math.log(expected) + (n - hits) * math.log1p(-expected)
    return math.exp(min(log, 700.0))
