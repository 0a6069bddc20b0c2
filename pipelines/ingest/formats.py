"""Which format a delivery has, and how it is read. The list of formats in the order in which they are recognised."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from models.errors import BadData, BadInput
from models.params import SplitShares
from pipelines.ingest import archives, coco, elpv, folder, label_studio, manifest, masks, mvtec, voc, yolo
from pipelines.ingest.deliveries import Source


class Format(StrEnum):
    AUTO = "auto"
    ELPV = "elpv"
    MANIFEST = "manifest"
    COCO = "coco"
    LABEL_STUDIO = "label-studio"
    MVTEC = "mvtec"
    YOLO = "yolo"
    VOC = "voc"
    MASKS = "masks"
    FOLDER = "folder"


@dataclass(frozen=True)
class Recognised:
    """What a delivery holds, counted without reading its images."""

    format: Format
    images: int
    labelled: int
    parts: int
    masks: int
    boxes: int
    defect_types: dict[str, int]


def recognise(source: str) -> Format:
    """The format of a path. Raises BadData when there is nothing there, or an archive."""
    path = Path(source)
    tests: dict[Format, Callable[[Path], bool]] = {
        Format.MVTEC: mvtec.recognises,
        Format.YOLO: yolo.recognises,
        Format.VOC: voc.recognises,
        Format.MASKS: masks.recognises,
    }
    if source == "elpv":
        return Format.ELPV
    if path.suffix in (".csv", ".parquet") and path.is_file():
        return Format.MANIFEST
    if coco.recognises(path):
        return Format.COCO
    if label_studio.recognises(path):
        return Format.LABEL_STUDIO
    if path.is_file() and archives.suffix(path):
        raise archives.refuse(path)
    if path.is_dir():
        return next((name for name, test in tests.items() if test(path)), Format.FOLDER)
    raise BadData(
        f"{source} is no folder, no CSV or Parquet manifest, no COCO file, no Label Studio export, and not elpv.",
        next_step="defectloop ingest FOLDER, or defectloop ingest manifest.csv",
    )


def read(
    source: str,
    shares: SplitShares,
    *,
    format: Format = Format.AUTO,
    slice: str | None = None,
    part_from: str | None = None,
) -> tuple[Format, Source]:
    """Open a delivery; `part_from` is a regular expression that finds the part in an image's
    name; an image whose name it does not match is a part of its own."""
    chosen = recognise(source) if format is Format.AUTO else format
    path = Path(source)
    readers: dict[Format, Callable[[], Source]] = {
        Format.ELPV: lambda: elpv.read(shares, slices=(slice,) if slice else elpv.SLICES),
        Format.MANIFEST: lambda: manifest.read(path, slice),
        Format.COCO: lambda: coco.read(path, slice),
        Format.LABEL_STUDIO: lambda: label_studio.read(path, slice),
        Format.MVTEC: lambda: mvtec.read(path, shares, slice),
        Format.YOLO: lambda: yolo.read(path, slice),
        Format.VOC: lambda: voc.read(path, slice),
        Format.MASKS: lambda: masks.read(path, slice),
        Format.FOLDER: lambda: folder.read(path, slice),
    }
    opened = readers[chosen]()
    return chosen, opened if part_from is None else _with_parts(opened, part_from)


def count(format: Format, source: Source) -> Recognised:
    items = source.deliveries
    return Recognised(
        format=format,
        images=len(items),
        labelled=sum(item.label is not None for item in items),
        parts=len({item.part or item.name for item in items}),
        masks=sum(item.mask is not None for item in items),
        boxes=sum(len(item.boxes or ()) for item in items),
        defect_types=dict(Counter(kind for item in items for kind in item.defect_types).most_common()),
    )


def _with_parts(source: Source, part_from: str) -> Source:
    try:
        pattern = re.compile(part_from)
    except re.error as error:
        raise BadInput(f"--part-from {part_from!r}: {error}.", next_step="Give a regular expression.") from error
    found = [(item, pattern.search(item.name)) for item in source.deliveries]
    if not any(match for _, match in found):
        raise BadInput(
            f"--part-from {part_from!r} finds a part in none of {len(found)} names (first: {source.deliveries[0].name}).",
            next_step="Its first group is the part.",
        )
    group = 1 if pattern.groups else 0
    return Source(source.name, [replace(item, part=match.group(group)) if match else item for item, match in found])
