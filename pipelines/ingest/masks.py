"""Images with masks: `NAME.jpg` and `NAME.png` in one folder, `NAME.*` and `NAME_mask.png`, or sibling folders `images` and
`masks`. Any other folder in the path is the defect type. Without such folders, the mask gives the label: good if empty."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path

from PIL import Image

from models.images import codec
from models.vocabulary import Label
from pipelines.ingest import splits
from pipelines.ingest.deliveries import Delivery, Source
from pipelines.ingest.delivery_folder import IMAGE_SUFFIXES, DeliveryFolder
from pipelines.ingest.folder import is_good

IMAGE_FOLDERS = {"imgs", "images", "img", "image"}
MASK_FOLDERS = {"masks", "mask", "ground_truth", "gt", "annotations", "labels"}
_ENDING = "_mask"
_BRIGHT = 127  # of 255, the same threshold as in `describe`


def pairs(files: list[Path], folder: Path) -> dict[Path, Path]:
    """Return image to mask. A PNG beside an image with the same stem and another format is that image's mask."""
    present = set(files)
    kept_apart = {_key(path, folder): path for path in files if _in_mask_folder(path, folder)}
    mask_of = {}
    for path in files:
        if _is_named_mask(path, folder):
            continue
        beside = [path.with_name(f"{path.stem}{_ENDING}.png")]
        if path.suffix.lower() != ".png":
            beside.append(path.with_suffix(".png"))
        mask = next((candidate for candidate in beside if candidate in present), kept_apart.get(_key(path, folder)))
        if mask is not None:
            mask_of[path] = mask
    return mask_of


def recognises(folder: DeliveryFolder) -> bool:
    files = folder.found(IMAGE_SUFFIXES)
    return bool(files) and len(pairs(files, folder.path)) * 2 >= 0.9 * len(files)


def read(delivered: DeliveryFolder, slice: str | None = None) -> Source:
    """Read images and masks. A folder named good contains good images; any other folder name is a defect type. Only if no
    image lies in such a folder do the masks give the labels.

    Images without a mask are ingested without one, and masks without an image are skipped; the remarks list both.
    """
    files, folder = delivered.images(), delivered.path
    mask_of = pairs(files, folder)
    used = set(mask_of.values())
    with_pngs_as_masks = {image.parent for image, mask in mask_of.items() if image.with_suffix(".png") == mask}
    remarks: dict[str, list[str]] = defaultdict(list)
    typed = any(_kind(path.relative_to(folder)) for path in mask_of)
    deliveries = []
    for path in files:
        name = path.relative_to(folder).as_posix()
        mask = mask_of.get(path)
        if path in used:
            continue
        beside = path.suffix.lower() == ".png" and path.parent in with_pngs_as_masks
        if mask is None and (_is_named_mask(path, folder) or beside):
            remarks["mask without image"].append(name)
            continue
        if mask is None:
            remarks["image without a mask, ingested without one"].append(name)
        if typed and _kind(path.relative_to(folder)) is None:
            remarks["image outside the class folders, ingested without a label"].append(name)
        deliveries.append(_delivery(path, mask, delivered, slice, typed=typed))
    return Source(delivered.root.name, deliveries, remarks)


def _key(path: Path, folder: Path) -> tuple[tuple[str, ...], str]:
    """Return a key that is the same for an image and its mask: folder names for images and for masks are made equal."""
    plain = IMAGE_FOLDERS | MASK_FOLDERS
    above = path.relative_to(folder).parts[:-1]
    return tuple("" if part.lower() in plain else part for part in above), path.stem.removesuffix(_ENDING)


def _in_mask_folder(path: Path, folder: Path) -> bool:
    return any(part.lower() in MASK_FOLDERS for part in path.relative_to(folder).parts[:-1])


def _is_named_mask(path: Path, folder: Path) -> bool:
    return _in_mask_folder(path, folder) or path.stem.endswith(_ENDING)


def _kind(relative: Path) -> str | None:
    """Return the name of the nearest folder that is a class."""
    plain = IMAGE_FOLDERS | set(splits.NAMED)
    return next((name for name in reversed(relative.parts[:-1]) if name.lower() not in plain), None)


def _delivery(path: Path, mask: Path | None, delivered: DeliveryFolder, slice: str | None, *, typed: bool) -> Delivery:
    relative = path.relative_to(delivered.path)
    kind = _kind(relative)
    split = next(
        (splits.NAMED[name.lower()].value for name in relative.parts[:-1] if name.lower() in splits.NAMED), None
    )
    label: str | None = None
    by: str | None = None
    if kind is not None:
        label = (Label.GOOD if is_good(kind) else Label.DEFECT).value
        by = f"folder {kind}" if mask is None else f"mask beside the image in {kind}"
    elif mask is not None and not typed:
        label, by = _label(mask), "mask beside the image"
    return Delivery(
        name=relative.as_posix(),
        read=partial(delivered.read, path),
        slice=slice or "default",
        label=label,
        split=split,
        defect_types=(kind,) if kind and label == Label.DEFECT else (),
        mask=partial(delivered.read, mask) if mask else None,
        labelled_by=by,
    )


def _label(mask: Path) -> str | None:
    """Return `defect` if the mask marks anything, `good` if not, and None if it cannot be read."""
    try:
        with Image.open(mask, formats=codec.FORMATS) as opened:
            codec.require_size(*opened.size)
            brightest = max(high for _, high in _extrema(opened))
    except Exception:  # Pillow's plugins raise various exceptions on bad bytes; the data contract reports the mask
        return None
    return (Label.DEFECT if brightest > _BRIGHT else Label.GOOD).value


def _extrema(opened: Image.Image) -> list[tuple[float, float]]:
    extrema = (opened if opened.mode in ("L", "RGB", "1") else opened.convert("RGB")).getextrema()
    return [extrema] if isinstance(extrema[0], int | float) else list(extrema)  # type: ignore[list-item,arg-type]
