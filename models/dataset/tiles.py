"""Examples of large images as examples of their tiles, cut once and kept as files. Reads and writes images."""

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

SEEN = (
    0.001  # of a tile's area: less of a defect is too little to call the tile defective, and too much to call it good
)
MOSTLY = 0.5  # of the image's defective area: a defect smaller than that share of a tile counts where it mostly lies

CODE = (
    "models.images.codec",
    "models.images.high_bit_depth",
    "models.images.masks",
    "models.dataset.tiles",
    "models.images.tiling",
)  # what makes the files
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
    """The same examples with every image larger than a tile as its tiles; they keep part and origin.

    `cache` keeps the tiles' pixels by image and their masks by mask, so that a corrected mask gets tiles of its own.

    A tile is defective where mask or boxes say so. With `learning`, tiles that hold just an edge of a defect are left
    out, and a large defective image without mask and boxes is an error, BadData: nobody knows which of its tiles are.
    Without it (validation: verdicts are about parts) its tiles are all called defective.
    """
    places: list[int] = []
    tiles: list[_Tile] = []
    kept = cache / code_version(CODE)
    if not kept.exists():
        shutil.rmtree(cache, ignore_errors=True)  # what other versions of the code cut
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
            f"{file} is larger than model.tile_px and defective, and neither mask nor box says where.",
            next_step=f"Mark the defect, or set model.tile_px to null or {max(height, width)}.",
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
    """bool [height, width] where mask or boxes say so, None where neither is there."""
    if mask is not None:
        return masks.read(mask, (height, width))
    if not len(boxes):
        return None
    where = np.zeros((height, width), dtype=bool)
    for left, top, right, bottom, _ in boxes:
        where[int(top * height) : int(np.ceil(bottom * height)), int(left * width) : int(np.ceil(right * width))] = True
    return where


def _within(boxes: np.ndarray, window: Window, width: int, height: int) -> np.ndarray:
    """The boxes that lie in the window for the greater part, cut to it, in shares of its sides."""
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
    """Whether the file is there with its end: a disk that was full or lost power may leave less."""
    try:
        with path.open("rb") as source:
            source.seek(-len(END_OF_PNG), os.SEEK_END)
            return source.read() == END_OF_PNG
    except OSError:
        return False
