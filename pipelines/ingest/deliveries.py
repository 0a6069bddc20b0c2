"""The result of a format reader: images as delivered, with everything that the sender states about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Box:
    """A bounding box in pixels; x and y are its upper left corner."""

    x: float
    y: float
    width: float
    height: float
    defect_type: str | None = None


@dataclass(frozen=True)
class Delivery:
    name: str  # unique in its source
    read: Callable[[], bytes]
    part: str | None = None  # None: not stated (`pipelines.part_names`); ingest then groups near duplicates
    slice: str = "default"
    label: str | None = None
    split: str | None = None  # an official split of the source, which is kept
    split_stated: bool | None = None  # False: the split was assigned by us earlier; None: stated if `split` is given
    defect_types: Sequence[str] = ()
    defect_probability: float | None = None
    mask: Callable[[], bytes] | None = None  # an image of the same size in which defects are bright
    boxes: Sequence[Box] | None = None  # None: the source has no boxes; empty: it states that there are none
    labelled_by: str | None = None
    labelled_at: str | None = None
    licence: str | None = None
    accepted_by: str | None = None  # who released it from quarantine in spite of the data contract
    accepted_at: str | None = None
    synthetic: bool = False  # a synthetic image, which always goes to the training split


@dataclass(frozen=True)
class Source:
    """A whole delivery: its name, which is kept in the annotations, and its images.

    `remarks` lists what was skipped or interpreted: a description, with the names that it applies to. `outside` holds the
    absolute paths of files outside the delivery's folder that are read because --allow-outside was given.
    """

    name: str
    deliveries: Sequence[Delivery]
    remarks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    outside: Sequence[str] = ()


Track = Callable[[Iterable, int], Iterable]  # shows progress over an iterable of known length


def untracked(items: Iterable, total: int) -> Iterable:
    return items
