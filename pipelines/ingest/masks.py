"""Images beside masks: `NAME.jpg` and `NAME.png` in one folder, the folder above or itself naming the type of defect."""

from __future__ import annotations

from pathlib import Path

from models.errors import BadData
from models.vocabulary import Label
from pipelines.ingest.deliveries import Delivery, Source
from pipelines.ingest.folder import SUFFIXES, image_files, is_good

PLAIN = {"imgs", "images", "img"}  # folder names that say nothing about the defect


def pairs(folder: Path) -> dict[Path, Path]:
    """Image to mask: two files of one stem in one folder, the mask being the PNG."""
    found = {}
    for path in image_files(folder):
        mask = path.with_suffix(".png")
        if path.suffix.lower() != ".png" and mask.exists():
            found[path] = mask
    return found


def recognises(folder: Path) -> bool:
    files = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
    return bool(files) and len(pairs(folder)) * 2 >= 0.9 * len(files)


def read(folder: Path, slice: str | None = None) -> Source:
    """A folder that is called good makes its images good; every other one names a type of defect.

    An image without a mask is delivered without one. Raises BadData for a PNG without an image: nobody can say which
    of the two it is.
    """
    found = pairs(folder)
    masks = set(found.values())
    alone = [path for path in image_files(folder) if path not in found and path not in masks]
    lost = [path for path in alone if path.suffix.lower() == ".png"]
    if lost:
        raise BadData(
            f"{folder}: {len(lost)} PNG files have no image of their name (first: {lost[0].relative_to(folder)}).",
            next_step="Masks without an image? Move them away. Images? Deliver them in a folder of their own.",
        )
    every = found | dict.fromkeys(alone)
    return Source(folder.resolve().name, [_delivery(path, every[path], folder, slice) for path in sorted(every)])


def _delivery(path: Path, mask: Path | None, folder: Path, slice: str | None) -> Delivery:
    above = [name for name in path.relative_to(folder).parts[:-1] if name.lower() not in PLAIN]
    kind = above[-1] if above else "defect"
    good = is_good(kind)
    return Delivery(
        name=path.relative_to(folder).as_posix(),
        read=path.read_bytes,
        slice=slice or "default",
        label=(Label.GOOD if good else Label.DEFECT).value,
        defect_types=() if good else (kind,),
        mask=mask.read_bytes if mask else None,
        labelled_by=f"mask beside the image in {kind}" if mask else f"folder {kind}",
    )
