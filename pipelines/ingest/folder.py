"""A folder of images with one sub-folder per class: `good` for good parts, any other name for a defect type. Folders
`train`, `val` and `test` above the classes are the splits. A folder that contains all classes is not a class itself."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from models.vocabulary import Label
from pipelines.ingest import splits
from pipelines.ingest.deliveries import Delivery, Source
from pipelines.ingest.delivery_folder import DeliveryFolder

GOOD = {"good", "ok", "free", "normal"}
DEFECTIVE = {"defect", "defects", "defective", "bad", "ng"}
NEGATION = {"not", "no", "non"}


def is_good(name: str) -> bool:
    """Return whether a folder's name means good parts: good, ok, MT_Free, no_defect, … but not `not ok`."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    return bool((DEFECTIVE if NEGATION & words else GOOD) & words)


def read(folder: DeliveryFolder, slice: str | None = None) -> Source:
    """Read each image with the label of its sub-folder. Images outside any sub-folder have no label."""
    files = folder.images()
    above = _above_classes([path.relative_to(folder.path).parts[:-1] for path in files])
    deliveries = [_delivery(folder, path, above, slice or "default") for path in files]
    remarks = {"file that is not an image": folder.others(files)}
    bare = [item.name for item in deliveries if item.label is None]
    if len(bare) < len(deliveries):
        remarks["image outside the class folders, ingested without a label"] = bare
    return Source(folder.root.name, deliveries, remarks)


def _above_classes(folders: list[tuple[str, ...]]) -> int:
    """Return the number of folder levels that enclose all classes."""
    depth = 0
    while all(len(parts) > depth + 1 for parts in folders) and len({parts[depth] for parts in folders}) == 1:
        name = folders[0][depth]
        if name.lower() in splits.NAMED:
            return depth
        if is_good(name):
            return 0
        depth += 1
    return depth if len({parts[: depth + 1] for parts in folders}) > 1 else 0


def _delivery(folder: DeliveryFolder, path: Path, above: int, slice: str) -> Delivery:
    relative = path.relative_to(folder.path)
    folders = relative.parts[above:-1]
    split = splits.NAMED.get(folders[0].lower()) if folders else None
    kind = next(iter(folders[1:] if split else folders), None)
    good = kind is not None and is_good(kind)
    return Delivery(
        name=relative.as_posix(),
        read=partial(folder.read, path),
        slice=slice,
        split=split.value if split else None,
        label=None if kind is None else (Label.GOOD if good else Label.DEFECT).value,
        defect_types=() if kind is None or good else (kind,),
        labelled_by=None if kind is None else f"folder {kind}",
    )
