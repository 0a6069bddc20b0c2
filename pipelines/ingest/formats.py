"""Recognises the format of a delivery and reads it. Formats are tried in a fixed order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from models import names
from models.errors import BadData, BadInput
from models.params import SplitShares
from models.vocabulary import Label
from pipelines import part_names
from pipelines.ingest import (
    archives,
    coco,
    delivery_folder,
    elpv,
    folder,
    label_studio,
    manifest,
    masks,
    mvtec,
    voc,
    yolo,
)
from pipelines.ingest.deliveries import Delivery, Source
from pipelines.ingest.delivery_folder import DeliveryFolder
from pipelines.part_names import PartPattern


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
    """Contents of a delivery, counted without decoding its images.

    `parts` counts stated parts, `without_part` images without a stated part. `classes` counts images: good, each defect type
    (an image may have several), and images without a type or label. `remarks` lists what is skipped or interpreted.
    """

    format: Format
    images: int
    labelled: int
    parts: int
    without_part: int
    masks: int
    boxes: int
    classes: dict[str, int]
    remarks: dict[str, list[str]] = field(default_factory=dict)
    outside: tuple[str, ...] = ()  # absolute paths of what is read outside the delivery's folder


def recognise(source: str) -> Format:
    """Return the format of the source. Raises BadData if it does not exist, or is an archive."""
    return _recognised(source, delivery_folder.opened(Path(source)))


def _recognised(source: str, place: DeliveryFolder) -> Format:
    path = place.named
    tests: dict[Format, Callable[[DeliveryFolder], bool]] = {
        Format.MVTEC: mvtec.recognises,
        Format.YOLO: yolo.recognises,
        Format.VOC: voc.recognises,
        Format.MASKS: masks.recognises,
    }
    if source == "elpv":
        return Format.ELPV
    if path.suffix.lower() in (".csv", ".parquet") and path.is_file():
        return Format.MANIFEST
    if coco.recognises(place):
        return Format.COCO
    if label_studio.recognises(place):
        return Format.LABEL_STUDIO
    if path.is_file() and archives.suffix(path):
        raise archives.refuse(path)
    if path.is_dir():
        return next((name for name, test in tests.items() if test(place)), Format.FOLDER)
    raise BadData(
        f"{source} is not a folder, a CSV or Parquet manifest, or a COCO or Label Studio file.",
        next_step="defectloop ingest FOLDER, or defectloop ingest manifest.csv",
    )


def read(
    source: str,
    shares: SplitShares,
    *,
    format: Format = Format.AUTO,
    slice: str | None = None,
    parts: PartPattern | None = None,
    allow_outside: bool = False,
) -> tuple[Format, Source]:
    """Open a delivery. Returns its format and its images, which are read later. Raises BadData.

    `parts` finds the part in the file names of images for which the delivery states none. Files outside the delivery's
    folder (`pipelines.ingest.delivery_folder`) are not read unless `allow_outside` is set.
    """
    names.require(slice, "The slice")
    place = delivery_folder.opened(Path(source), allow_outside=allow_outside)
    chosen = _recognised(source, place) if format is Format.AUTO else format
    readers: dict[Format, Callable[[], Source]] = {
        Format.ELPV: lambda: elpv.read(shares, slices=(slice,) if slice else elpv.SLICES),
        Format.MANIFEST: lambda: manifest.read(place, slice),
        Format.COCO: lambda: coco.read(place, slice),
        Format.LABEL_STUDIO: lambda: label_studio.read(place, slice),
        Format.MVTEC: lambda: mvtec.read(place, shares, slice),
        Format.YOLO: lambda: yolo.read(place, slice),
        Format.VOC: lambda: voc.read(place, slice),
        Format.MASKS: lambda: masks.read(place, slice),
        Format.FOLDER: lambda: folder.read(place, slice),
    }
    try:
        opened = readers[chosen]()
    except RecursionError as error:
        raise BadData(f"{source} is nested too deeply.", next_step="Export it again.") from error
    opened = replace(opened, name=names.shown(opened.name))
    if chosen is not Format.ELPV:
        opened = replace(opened, remarks={**opened.remarks, **place.remarks()}, outside=tuple(place.outside))
    return chosen, opened if parts is None else _with_parts(opened, parts)


def count(format: Format, source: Source) -> Recognised:
    items = source.deliveries
    counts = Counter(kind for item in items for kind in _classes(item))
    first = [name for name in (Label.GOOD.value,) if name in counts]
    return Recognised(
        format=format,
        images=len(items),
        labelled=sum(item.label is not None for item in items),
        parts=len({item.part for item in items if _states_part(item)}),
        without_part=sum(not _states_part(item) for item in items),
        masks=sum(item.mask is not None for item in items),
        boxes=sum(len(item.boxes or ()) for item in items),
        classes={name: counts.pop(name) for name in first} | {names.shown(k): n for k, n in counts.most_common()},
        remarks={what: list(map(names.shown, whose)) for what, whose in source.remarks.items() if whose},
        outside=tuple(map(names.shown, source.outside)),
    )


def _classes(item: Delivery) -> set[str]:
    if item.label is None and not item.defect_types:
        return {"without a label"}
    if item.label == Label.DEFECT and not item.defect_types:
        return {"defect without a type"}
    return {Label.GOOD.value} if item.label == Label.GOOD else set(item.defect_types)


def _states_part(item: Delivery) -> bool:
    return item.part is not None and part_names.is_stated(item.part)


def _with_parts(source: Source, parts: PartPattern) -> Source:
    """Assign parts found in file names to images without a stated part. Raises BadInput if --part-from matches no name at
    all; ingest.part_from need not match deliveries from other sources."""
    asked = f"{parts.origin} {parts.expression.pattern!r}"
    remarks: dict[str, list[str]] = defaultdict(list)
    deliveries = []
    for item in source.deliveries:
        match = parts.find(item.name)
        if _states_part(item):
            if match is not None and match.part != item.part:
                remarks[f"part stated by the delivery used instead of the one found by {parts.origin}"].append(
                    item.name
                )
        elif match is None:
            remarks[f"file name in which {parts.origin} finds no part"].append(item.name)
        else:
            item = replace(item, part=match.part)
        deliveries.append(item)
    if parts.origin == part_names.OPTION and not any(map(_states_part, deliveries)):
        raise BadInput(
            f"{asked} matches none of the {len(deliveries)} file names (first: {names.shown(deliveries[0].name)}).",
            next_step="Correct the expression: its group `part`, or else its first group, is the part.",
        )
    return replace(source, deliveries=deliveries, remarks={**source.remarks, **remarks})
