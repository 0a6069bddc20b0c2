"""The images of one part, and the label of each image after a review. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from models.errors import BadInput
from models.vocabulary import Label
from pipelines.ledger import part_verdicts
from pipelines.ledger.tables import Inspection

ALL = "all"


def of_inspections(inspected: Sequence[Inspection]) -> dict[str, Inspection]:
    """Return the images of a part by SHA-256: the latest image of every view, and all images without a view."""
    latest = {part_verdicts.view_of(item): item for item in inspected}
    return {item.image: item for item in latest.values()}


def labelled(inspected: Sequence[Inspection], part: str, label: str, views: Collection[str] | None) -> dict[str, str]:
    """Return the label of every image by SHA-256. All images of a good part are good. For a defective part, `views` names
    the images that show the defect.

    `views` are view names, beginnings of the SHA-256, or `all`. Raises BadInput if they are needed and missing, or do not
    name exactly one image each.
    """
    images = of_inspections(inspected)
    if label == Label.GOOD:
        if views:
            raise BadInput(
                f"Part {part} is labelled good, but --view names images that show a defect.",
                next_step="Omit --view, or use --label defect.",
            )
        return dict.fromkeys(images, label)
    if not views and len(images) > 1:
        raise BadInput(
            f"Part {part} has {len(images)} images: {', '.join(map(_name, images.values()))}. "
            "Which of them show the defect?",
            next_step="Name each of them with --view, or use --view all.",
        )
    if not views or ALL in views:
        return dict.fromkeys(images, label)
    shown = {_image(images, part, view) for view in views}
    return {image: Label.DEFECT.value if image in shown else Label.GOOD.value for image in images}


def _name(item: Inspection) -> str:
    return item.view or item.image[:16]


def _image(images: dict[str, Inspection], part: str, view: str) -> str:
    matching = [image for image, item in images.items() if item.view == view]
    matching = matching or [image for image in images if view and image.startswith(view)]
    if len(matching) != 1:
        raise BadInput(
            f"{view!r} matches {len(matching) or 'no'} images of part {part}.",
            next_step=f"Use one of: {', '.join(map(_name, images.values()))}, all.",
        )
    return matching[0]
