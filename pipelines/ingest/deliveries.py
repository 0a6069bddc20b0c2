"""What a format reader yields: one image as it was delivered, with everything the sender says about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Box:
    """Pixels of the image, x and y of the upper left corner."""

    x: float
    y: float
    width: float
    height: float
    defect_type: str | None = None


@dataclass(frozen=True)
class Delivery:
    name: str  # unique in its source
    read: Callable[[], bytes]
    part: str | None = None  # None: nobody stated it (`pipelines.part_names`); ingest groups near duplicates
    slice: str = "default"
    label: str | None = None
    split: str | None = None  # respected where the source has an official one
    split_stated: bool | None = None  # False: the split was once decided by us, not by the source; None: as it looks
    defect_types: Sequence[str] = ()
    defect_probability: float | None = None
    mask: Callable[[], bytes] | None = None  # an image of the same size, bright where the defect is
    boxes: Sequence[Box] | None = None  # None: the source has none; empty: it says that there is none
    labelled_by: str | None = None
    labelled_at: str | None = None
    licence: str | None = None
    accepted_by: str | None = None  # who released it from quarantine in spite of what the contract says
    accepted_at: str | None = None
    synthetic: bool = False  # made, not photographed: goes to the training split


@dataclass(frozen=True)
class Source:
    """A whole delivery: its name, as it will stand in the annotations, and its images.

    `remarks` names what was passed over or taken otherwise than it stands there: what it is, to whose it is. `outside`
    holds the absolute paths of what lies outside the delivery's folder and is read because a person allowed it.
    """

    name: str
    deliveries: Sequence[Delivery]
    remarks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    outside: Sequence[str] = ()


Track = Callable[[Iterable, int], Iterable]  # shows progress over an iterable of known length


def untracked(items: Iterable, total: int) -> Iterable:
    return items
