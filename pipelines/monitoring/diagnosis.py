"""What a drift is: acquisition (light, focus, camera), product, or defect rate. Pure.

A change at the station alters every part in the same way, so the same change is made on images of the reference, and the
direction in which it moves the descriptors is compared with the direction that production took. Another defect rate moves
them along the line from good to defective parts, at most to where all or none are defective. What neither explains is a
change of the product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

ENOUGH = 0.7  # share of the squared shift that a cause has to explain
LARGEST = 1.5  # how much stronger than tried a cause may be
FEWEST_AXES = 4  # with fewer, a shift lies close to the direction of some cause by chance


class Cause(StrEnum):
    ACQUISITION = "acquisition"
    PRODUCT = "product"
    DEFECT_RATE = "defect rate"


ADVICE = {
    Cause.ACQUISITION: "Adjust the station; a retraining would learn its fault.",
    Cause.PRODUCT: "A retraining is requested.",
    Cause.DEFECT_RATE: "Tell quality: the parts look as before, but another share of them is defective.",
}


@dataclass(frozen=True)
class Diagnosis:
    """`reasons` are sentences for people; `explained` [0, 1] is the share of the shift that the best explanation covers."""

    cause: Cause
    explained: float
    reasons: tuple[str, ...]


def diagnose(
    shift: np.ndarray,
    error: np.ndarray,
    changes: Mapping[str, np.ndarray],
    defective: np.ndarray | None,
    rate: float = 0.0,
) -> Diagnosis:
    """Explain `shift` [d], the mean of production on the reference's whitened axes, with its variance `error` [d].

    `changes` are the shifts [d] that changes of the station cause, by their names in words; empty if no image of the
    reference is at hand. `defective` [d] is the mean of defective parts less that of good ones, None without either; `rate`
    [0, 1] is the share of defective parts in the reference. Fewer than `FEWEST_AXES` axes cannot tell causes apart: then
    people look at the parts, as after a change of the product.
    """
    if len(shift) < FEWEST_AXES:
        return Diagnosis(Cause.PRODUCT, 0.0, ("the reference has too few parts to tell causes apart",))
    noise = float(error.sum())
    by_change = {name: explained(shift, noise, direction) for name, direction in changes.items()}
    by_rate = 0.0
    if defective is not None:
        by_rate = max(explained(shift, noise, defective, 1 - rate), explained(shift, noise, -defective, rate))
    best = max(by_change, key=lambda name: by_change[name], default="")
    share = by_change.get(best, 0.0)
    if max(share, by_rate) < ENOUGH:
        known = f"the nearest change of the station, {best}, explains {share:.0%} of the shift" if changes else ""
        blind = (
            ""
            if changes
            else "no image of the reference is in this workspace, so changes of the station were not tried"
        )
        return Diagnosis(
            Cause.PRODUCT,
            max(share, by_rate),
            (f"{known or blind}; another share of defective parts explains {by_rate:.0%}",),
        )
    if by_rate >= share:
        more = defective is not None and float(shift @ defective) > 0
        return Diagnosis(
            Cause.DEFECT_RATE,
            by_rate,
            (f"{'more' if more else 'fewer'} defective parts explain {by_rate:.0%} of the shift",),
        )
    return Diagnosis(
        Cause.ACQUISITION, share, (f"{best} explains {share:.0%} of the shift, on images of the reference",)
    )


def explained(shift: np.ndarray, noise: float, direction: np.ndarray, largest: float = LARGEST) -> float:
    """Return the share of the squared `shift` [d] that `direction` [d] explains, up to `largest` times, beyond `noise`."""
    amount = float(np.clip(shift @ direction / max(float(direction @ direction), 1e-9), 0.0, largest))
    left = max(0.0, float(np.sum((shift - amount * direction) ** 2)) - noise)
    return max(0.0, 1 - left / max(float(shift @ shift) - noise, 1e-9))
