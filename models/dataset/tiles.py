"""Cuts large images of examples into tiles, which are cached as files."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.code_version import code_version
from models.dataset.examples import Examples
from models.errors import BadData
from models.files import write_whole
from models.images import codec, masks
from models.images.tiling import Window, windows
from models.vocabulary import Label

SEEN = 0.001  # share of a tile's area; tiles with less of a defect are neither clearly defective nor good
MOSTLY = 0.5  # share of the defective area; a small defect counts for the tile that contains most of it

CODE = (
    "models.images.codec",
    "models.images.high_bit_depth",
    "models.images.masks",
    "models.dataset.tiles",
    "models.images.tiling",
)  # modules whose changes invalidate the cached tiles
END_OF_PNG = b"IEND\xaeB`\x82"


@dataclass(frozen=True)
class _Tile:
    name: str
    file: Path
    mask: Path | None
    boxes: np.ndarray
    target: float
    types: tuple[int, ...]


def cut(examples: Examples, tile_px: int, cache: Path, *, learning: bool) -> Examples:
    """Return the examples with every image larger than a tile replaced by its tiles, which keep the image's part.

    `cache` holds the tiles' pixels by image and their masks by mask, so that a corrected mask gets new tiles.

    Mask or boxes decide which tiles are defective. With `learning`, tiles with only an edge of a defect are left out, and a
    large defective image without mask and boxes raises BadData, because its defective tiles are unknown. Without it
    (validation, where verdicts are by part) all of its tiles count as defective.
    """
    places: list[int] = []
    tiles: list[_Tile] = []
    kept = cache / code_version(CODE)
    if not kept.exists():
        shutil.rmtree(cache, ignore_errors=True)  # tiles of other versions of the code
    for number in range(len(examples)):
        for tile in _tiles(examples, number, tile_px, kept, learning=learning):
            places.append(number)
            tiles.append(tile)
    return Examples(
        images=[tile.name for tile in tiles],
        parts=[examples.parts[place] for place in places],
        files=[tile.file for tile in tiles],
        targets=np.array([tile.target for tile in tiles], dtype=np.float32),
        types=[tile.types for tile in tiles],
        masks=[tile.mask for tile in tiles],
        boxes=[tile.boxes for tile in tiles],
        synthetic=examples.synthetic[places] if places else examples.synthetic[:0],
        defect_types=examples.defect_types,
    )


def _tiles(examples: Examples, number: int, tile_px: int, cache: Path, *, learning: bool) -> Iterator[_Tile]:
    name, file, mask = examples.images[number], examples.files[number], examples.masks[number]
    target, types, boxes = float(examples.targets[number]), examples.types[number], examples.boxes[number]
    image = codec.read(file)
    height, width = image.shape[:2]
    if max(height, width) <= tile_px:
        yield _Tile(name, file, mask, boxes, target, types)
        return
    if target and mask is None and not len(boxes) and learning:
        raise BadData(
            f"{file} is defective and larger than model.tile_px, but has neither mask nor boxes.",
            next_step=f"Add a mask or boxes, or set model.tile_px to null or {max(height, width)}.",
        )
    where = _defective(mask, boxes, height, width) if target else None
    drawn = "" if mask is None else hashlib.sha256(mask.read_bytes()).hexdigest()[:32]
    for window in windows(width, height, tile_px):
        label = Label.DEFECT if target else Label.GOOD
        if where is not None and where.any():
            inside = int(window.of(where).sum())
            if inside >= min(SEEN * window.width * window.height, MOSTLY * int(where.sum())) and inside:
                label = Label.DEFECT
            elif inside and learning:
                continue
            else:
                label = Label.GOOD
        tile = f"{name}-{window.x}-{window.y}-{tile_px}"
        yield _Tile(
            name=tile,
            file=_kept(cache / f"{tile}.png", window.of(image)),
            mask=_kept(cache / f"{tile}-mask-{drawn}.png", window.of(where).astype(np.uint8)[..., None] * 255)
            if mask is not None and where is not None
            else None,
            boxes=_within(boxes, window, width, height),
            target=float(label == Label.DEFECT),
            types=types if label == Label.DEFECT else (),
        )


def _defective(mask: Path | None, boxes: np.ndarray, height: int, width: int) -> np.ndarray | None:
    """Return the defective pixels as bool [height, width] from mask or boxes, or None without both."""
    if mask is not None:
        return masks.read(mask, (height, width))
    if not len(boxes):
        return None
    where = np.zeros((height, width), dtype=bool)
    for left, top, right, bottom, _ in boxes:
        where[int(top * height) : int(np.ceil(bottom * height)), int(left * width) : int(np.ceil(right * width))] = True
    return where


def _within(boxes: np.ndarray, window: Window, width: int, height: int) -> np.ndarray:
    """Return the boxes that lie mostly in the window, cropped to it and relative to its sides."""
    pixels = boxes[:, :4] * np.array([width, height, width, height], dtype=np.float32)
    low = np.array([window.x, window.y], dtype=np.float32)
    size = np.array([window.width, window.height], dtype=np.float32)
    start, end = np.clip(pixels[:, :2] - low, 0, size), np.clip(pixels[:, 2:] - low, 0, size)
    area = np.maximum((pixels[:, 2:] - pixels[:, :2]).prod(axis=1), 1e-6)
    keep = (end - start).prod(axis=1) >= MOSTLY * area
    return np.concatenate([start / size, end / size, boxes[:, 4:]], axis=1)[keep].astype(np.float32)


def _kept(path: Path, pixels: np.ndarray) -> Path:
    if not _whole(path):
        write_whole(path, codec.encode_png(np.ascontiguousarray(pixels)))
    return path


def _whole(path: Path) -> bool:
    """Return whether the file exists with its end. A full disk or a power cut may leave a truncated file."""
    try:
        with path.open("rb") as source:
            source.seek(-len(END_OF_PNG), os.SEEK_END)
            return source.read() == END_OF_PNG
    except OSError:
        return False
