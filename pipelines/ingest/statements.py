"""Checks the statements of a delivery about one image for contradictions, also with the image's size. Pure functions.

Errors in a file's structure refuse the whole delivery: the format readers report file and line. Errors in the data of one
image quarantine only that image, with the reason that is written here.
"""

from __future__ import annotations

from collections.abc import Iterator

from models import names
from models.vocabulary import Label
from pipelines.ingest.deliveries import Box, Delivery

Size = tuple[int, int]  # width, height


def problem(delivery: Delivery, size: Size | None) -> str | None:
    """Return why this image must be quarantined, or None. `size` is None if the bytes are not an image."""
    for problems in (_names(delivery), _label(delivery), _boxes(delivery, size)):
        if (wrong := next(problems, None)) is not None:
            return wrong
    return None


def _names(delivery: Delivery) -> Iterator[str]:
    if wrong := names.unprintable(delivery.name):
        yield f"its file name {wrong}: rename the file, or release it under the name shown here"
    named = [("part", delivery.part), ("slice", delivery.slice)]
    named += [("defect type", kind) for kind in delivery.defect_types]
    named += [("box's defect type", box.defect_type) for box in delivery.boxes or ()]
    for what, name in named:
        if name is not None and (wrong := names.problem(name)):
            yield f"its {what} {wrong}: give it another name and deliver it again"
    for what, text in (
        ("labelled_by", delivery.labelled_by),
        ("labelled_at", delivery.labelled_at),
        ("licence", delivery.licence),
    ):
        if text is not None and (wrong := names.unprintable(text)):
            yield f"its {what} {wrong}: correct it and deliver it again"


def _label(delivery: Delivery) -> Iterator[str]:
    if delivery.label != Label.GOOD:
        return
    if delivery.boxes:
        yield f"it is labelled good and has boxes ({len(delivery.boxes)}): correct the label or take the boxes out"
    if delivery.defect_types:
        kinds = ", ".join(map(names.shown, delivery.defect_types))
        yield f"it is labelled good and has a type of defect ({kinds}): correct the label or take the type out"


def _boxes(delivery: Delivery, size: Size | None) -> Iterator[str]:
    for number, box in enumerate(delivery.boxes or (), start=1):
        if size is not None and (where := _beyond(box, *size)):
            place = f"box {number} from {box.x:g}, {box.y:g} to {box.x + box.width:g}, {box.y + box.height:g}"
            yield f"a box {where} the image ({place}, the image has {size[0]}×{size[1]} px): correct it and deliver it again"


def _beyond(box: Box, width: int, height: int) -> str | None:
    """Return how a box misses the image, or None. Boxes that merely cross the edge are kept; the audit reports them."""
    right, bottom = box.x + box.width, box.y + box.height
    if box.x >= width or box.y >= height or right <= 0 or bottom <= 0:
        return "lies outside"
    if box.x < -width or box.y < -height or right > 2 * width or bottom > 2 * height:
        return "reaches farther than the image's own size beyond"
    return None
