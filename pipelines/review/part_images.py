"""The images of one part, and what each of them shows according to a person. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from models.errors import BadInput
from models.vocabulary import Label
from pipelines.ledger import part_verdicts
from pipelines.ledger.tables import Inspection

ALL = "all"


def of_inspections(inspected: Sequence[Inspection]) -> dict[str, Inspection]:
    """The images that a part is judged by, by SHA-256: the latest of every view, and all that state no view."""
    latest = {part_verdicts.view_of(item): item for item in inspected}
    return {item.image: item for item in latest.values()}


def labelled(inspected: Sequence[Inspection], part: str, label: str, views: Collection[str] | None) -> dict[str, str]:
    """What every image shows, by SHA-256: a good part has good images alone, a defective one says which show the defect.

    `views` names those: by the view, by the beginning of the SHA-256, or `all`. Raises BadInput where they are needed and
    not given, or name no image or several.
    """
    images = of_inspections(inspected)
    if label == Label.GOOD:
        if views:
            raise BadInput(
                f"Part {part} is said to be good, and --view names images that show a defect.",
                next_step="Leave --view out, or say --label defect.",
            )
        return dict.fromkeys(images, label)
    if not views and len(images) > 1:
        raise BadInput(
            f"Part {part} has {len(images)} images: {', '.join(map(_name, images.values()))}. "
            "Which of them show the defect?",
            next_step="Name each with --view, or --view all.",
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
            f"Part {part} has {len(matching) or 'no'} images that {view!r} names.",
            next_step=f"Its images: {', '.join(map(_name, images.values()))}, or all.",
        )
    return matching[0]
