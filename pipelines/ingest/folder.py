"""A folder of images: one sub-folder per class, `good` for good parts, any other name for a type of defect. Folders
`train`, `val` and `test` above the classes are the splits; a folder that holds all the classes is none of them."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from models.errors import BadData
from models.vocabulary import Label
from pipelines.ingest import splits
from pipelines.ingest.deliveries import Delivery, Source

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}
GOOD = {"good", "ok", "free", "normal"}
DEFECTIVE = {"defect", "defects", "defective", "bad", "ng"}
NEGATION = {"not", "no", "non"}


def is_good(name: str) -> bool:
    """Whether a folder's name says that its parts are good: good, ok, MT_Free, no_defect, … but `not ok` does not."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    return bool((DEFECTIVE if NEGATION & words else GOOD) & words)


def image_files(folder: Path) -> list[Path]:
    """Every image file below `folder`, sorted. Raises BadData when there is none, and for what only looks like one."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.is_dir())
    odd = [path for path in files if not path.is_file()]
    if odd:
        raise BadData(
            f"{len(odd)} of {len(files)} images below {folder} are no files but pipes, devices or broken links (first: "
            f"{odd[0]}).",
            next_step="Take them out of the folder.",
        )
    if not files:
        raise BadData(
            f"No images below {folder} ({', '.join(sorted(SUFFIXES))}).",
            next_step="Check the path: defectloop ingest FOLDER",
        )
    return files


def read(folder: Path, slice: str | None = None) -> Source:
    """Each image with the label of its sub-folder; images outside any sub-folder come without a label."""
    files = image_files(folder)
    above = _above_classes([path.relative_to(folder).parts[:-1] for path in files])
    deliveries = [_delivery(path, path.relative_to(folder), above, slice or "default") for path in files]
    remarks = {"file that is no image": other_files(folder, files)}
    bare = [item.name for item in deliveries if item.label is None]
    if len(bare) < len(deliveries):
        remarks["image in no class's folder, taken without a label"] = bare
    return Source(folder.resolve().name, deliveries, remarks)


def _above_classes(folders: list[tuple[str, ...]]) -> int:
    """How many folders lie around everything: a single one with several inside is the wrapping of the delivery."""
    depth = 0
    while all(len(parts) > depth + 1 for parts in folders) and len({parts[depth] for parts in folders}) == 1:
        name = folders[0][depth]
        if name.lower() in splits.NAMED:
            return depth
        if is_good(name):
            return 0
        depth += 1
    return depth if len({parts[: depth + 1] for parts in folders}) > 1 else 0


def other_files(folder: Path, taken: Collection[Path]) -> list[str]:
    """Names of the files below a folder that nothing was made of, hidden ones left aside."""
    known = set(taken)
    found = (path for path in sorted(folder.rglob("*")) if path not in known and path.is_file())
    names = (path.relative_to(folder) for path in found)
    return [name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)]


def _delivery(path: Path, relative: Path, above: int, slice: str) -> Delivery:
    folders = relative.parts[above:-1]
    split = splits.NAMED.get(folders[0].lower()) if folders else None
    kind = next(iter(folders[1:] if split else folders), None)
    good = kind is not None and is_good(kind)
    return Delivery(
        name=relative.as_posix(),
        read=path.read_bytes,
        slice=slice,
        split=split.value if split else None,
        label=None if kind is None else (Label.GOOD if good else Label.DEFECT).value,
        defect_types=() if kind is None or good else (kind,),
        labelled_by=None if kind is None else f"folder {kind}",
    )
