"""The MVTec AD layout: `train/good`, `test/<type>`, `ground_truth/<type>/NAME_mask.png` (Bergmann et al., 2019), for one
category or several sibling categories."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path

from models.params import SplitShares
from models.vocabulary import Label, Split
from pipelines.ingest.deliveries import Delivery, Source
from pipelines.ingest.delivery_folder import DeliveryFolder
from pipelines.ingest.splits import assign

_SIDES = ("train", "test")


def recognises(folder: DeliveryFolder) -> bool:
    return bool(_categories(folder.path))


def _categories(folder: Path) -> list[Path]:
    """Return the folder itself if it has the layout, or else the sub-folders that have it."""
    candidates = (
        [folder, *(path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink())]
        if folder.is_dir()
        else []
    )
    categories = [path for path in candidates if (path / "train" / "good").is_dir() and (path / "test").is_dir()]
    return categories[:1] if categories[:1] == [folder] else categories


def read(delivered: DeliveryFolder, shares: SplitShares, slice: str | None = None) -> Source:
    """Read the dataset. The official test images stay the test split; training images are divided into training and
    validation.

    Each category is a slice. The remarks list masks without an image, defective test images without a mask, and images in
    other places.
    """
    folder = delivered.path
    deliveries: list[Delivery] = []
    remarks: dict[str, list[str]] = defaultdict(list)
    categories = _categories(folder) or [folder]
    for category in categories:
        deliveries += _category(category, delivered, shares, slice, remarks)
    for path in delivered.images():
        if not any(path.is_relative_to(category) for category in categories):
            remarks["image outside the categories, skipped"].append(path.relative_to(folder).as_posix())
    return Source(delivered.root.name, deliveries, remarks)


def _category(
    category: Path, delivered: DeliveryFolder, shares: SplitShares, slice: str | None, remarks: dict[str, list[str]]
) -> list[Delivery]:
    folder = delivered.path
    everything = delivered.images(category)
    files = [path for path in everything if path.relative_to(category).parts[0] in _SIDES]
    name = slice or category.resolve().name
    learned = [path for path in files if path.relative_to(category).parts[0] == "train"]
    kept = shares.train + shares.validation
    split_of = assign(
        ((_name(path, folder), (name, Label.GOOD.value)) for path in learned),
        SplitShares(train=shares.train / kept, validation=shares.validation / kept, test=0),
    )
    masks: set[Path] = set()
    deliveries = []
    for path in files:
        side, kind, *_ = path.relative_to(category).parts
        if kind == path.name:
            remarks["image outside the class folders, ingested without a label"].append(
                path.relative_to(folder).as_posix()
            )
            kind = ""
        mask = category / "ground_truth" / kind / f"{path.stem}_mask.png"
        has_mask = side == "test" and delivered.file(mask) is not None
        masks |= {mask} if has_mask else set()
        if not has_mask and kind not in ("good", ""):
            remarks["defective image without a mask"].append(path.relative_to(folder).as_posix())
        deliveries.append(
            Delivery(
                name=path.relative_to(folder).as_posix(),
                read=partial(delivered.read, path),
                slice=name,
                label=(Label.GOOD if kind == "good" else Label.DEFECT).value if kind else None,
                split=split_of.get(_name(path, folder), Split.TEST.value),
                defect_types=() if kind in ("good", "") else (kind,),
                mask=partial(delivered.read, mask) if has_mask else None,
                labelled_by=f"folder {kind}" if kind else None,
            )
        )
    used = {*files, *masks}
    for path in everything:
        if path not in used:
            lost = path.relative_to(category).parts[0] == "ground_truth"
            what = "mask without image" if lost else "image outside train and test, skipped"
            remarks[what].append(path.relative_to(folder).as_posix())
    return deliveries


def _name(path: Path, folder: Path) -> str:
    """Return the name by which training images are divided. It says nothing about which images show the same part."""
    return path.relative_to(folder).with_suffix("").as_posix()
