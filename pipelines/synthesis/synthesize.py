"""Makes synthetic defective parts for the training split: defects are drawn, or cut from real images and pasted.

The images enter through the ordinary ingest, marked as synthetic, with the mask and the images they were made from.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from models.dataset import annotation_table
from models.errors import BadInput, NotReady
from models.images import codec
from models.synthesis import drawn, pasted, placed
from models.synthesis.drawn import Kind
from models.vocabulary import Label, Split
from pipelines.ingest.deliveries import Box, Delivery, Source, Track, untracked
from pipelines.ingest.ingest import take_in
from pipelines.workspace import Workspace

SOURCE = "synthetic"
PASTE = "paste"
KINDS = (*(kind.value for kind in Kind), PASTE)
GOODS = 4  # good images that are tried for one defect
DONORS = 3  # defective images that are tried for one pasted defect
AHEAD = 64  # images that are made ahead; bounds the memory
COLUMNS = ["image", "file", "slice", "label", "defect_types", "mask", "boxes", "licence", "bit_depth"]

Row = dict[str, Any]
Found = tuple[placed.Made, Row]  # image and mask, and the good image they were made from


@dataclass(frozen=True)
class Synthetic:
    """One image to be made. `tries` are pairs of a donor, if any, and good images; the first one that fits is used."""

    kind: str
    number: int
    seed: int
    slice: str | None  # requested slice; None: any
    tries: tuple[tuple[Row | None, tuple[Row, ...]], ...]

    @property
    def name(self) -> str:
        within = self.kind if self.slice is None else f"{self.kind}/{self.slice}"
        return f"{within}/seed{self.seed}-{self.number:05d}.png"


@dataclass(frozen=True)
class Made:
    pixels: np.ndarray  # with the good image's bit depth and channels
    mask: np.ndarray  # bool [h, w]
    good: Row
    donor: Row | None


@dataclass(frozen=True)
class Synthesis:
    added: int
    already_present: int
    quarantined: int
    skipped: tuple[str, ...]  # images without a place on the part where the defect is visible and fits


def synthesize(
    workspace: Workspace,
    kinds: Sequence[str],
    count: int,
    *,
    seed: int = 0,
    slice: str | None = None,
    track: Track = untracked,
) -> Synthesis:
    """Add `count` images of each kind. Repeating it with the same seed adds only missing images.

    Raises BadInput for an unknown kind, and NotReady without good training images or without real defects to cut out.
    """
    table = annotation_table.load(workspace.annotations)
    existing = set(table.filter(compute.equal(table["source"], SOURCE))["source_path"].to_pylist())
    items = plan(table, kinds, count, seed, slice)
    wanted = [item for item in items if item.name not in existing]
    work = workspace.state / "work"
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="synthesize-", dir=work) as folder:
        written = list(track(_written(workspace.data, wanted, Path(folder)), len(wanted)))
        report = take_in(workspace, Source(SOURCE, [delivery for delivery in written if delivery is not None]))
    skipped = tuple(item.name for item, delivery in zip(wanted, written, strict=True) if delivery is None)
    present = len(items) - len(wanted) + report.already_present
    return Synthesis(report.added, present, len(report.quarantined), skipped)


def plan(table: pa.Table, kinds: Sequence[str], count: int, seed: int, slice: str | None) -> list[Synthetic]:
    """Choose the source images, only from photographed training parts. Good image and donor come from the same slice."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise BadInput(f"Unknown kind of synthetic defect {unknown[0]!r}.", next_step=f"Kinds: {', '.join(KINDS)}.")
    rows = [row for row in _photographed(table) if slice in (None, row["slice"])]
    good = [row for row in rows if row["label"] == Label.GOOD]
    if not good:
        raise NotReady(
            f"The training split contains no good images{'' if slice is None else f' of slice {slice}'}.",
            next_step="defectloop ingest FOLDER",
        )
    beside = defaultdict(list)
    for row in good:
        beside[row["slice"]].append(row)
    donors = [
        row for row in rows if row["label"] == Label.DEFECT and (row["mask"] or row["boxes"]) and beside[row["slice"]]
    ]
    if PASTE in kinds and not donors:
        raise NotReady(
            "No defective training image has a mask or a box to cut a defect from.",
            next_step=f"Ingest masks or boxes, or draw defects: --kinds {','.join(kind.value for kind in Kind)}",
        )
    items = []
    for kind in dict.fromkeys(kinds):
        for number in range(count):
            random = _random(kind, number, seed, slice)
            pairs: list[tuple[Row | None, tuple[Row, ...]]] = [(None, _some(good, GOODS, random))]
            if kind == PASTE:
                chosen = _some(donors, DONORS, random)
                pairs = [(donor, _some(beside[donor["slice"]], GOODS, random)) for donor in chosen]
            items.append(Synthetic(kind, number, seed, slice, tuple(pairs)))
    return items


def make(data_dir: Path, item: Synthetic) -> Made | None:
    """Make the image. None if no attempt places the defect visibly on the part."""
    random = _random(item.kind, item.number, item.seed, item.slice, 1)
    for donor, goods in item.tries:
        drawn = _drawn(data_dir, item.kind, goods, random) if donor is None else _pasted(data_dir, donor, goods, random)
        if drawn is not None:
            (image, mask), good = drawn
            kept = codec.read(data_dir / good["file"])
            white = np.float32(np.iinfo(kept.dtype).max)
            changed = np.round(image * white).astype(kept.dtype)
            return Made(changed, mask, good, donor)
    return None


def _drawn(data_dir: Path, kind: str, goods: Sequence[Row], random: np.random.Generator) -> Found | None:
    for good in goods:
        below = _unit(data_dir, good)
        part = placed.on_part(below)
        made = placed.place(part, partial(drawn.draw, below, Kind(kind), random, part))
        if made is not None:
            return made, good
    return None


def _pasted(data_dir: Path, donor: Row, goods: Sequence[Row], random: np.random.Generator) -> Found | None:
    """Paste the defect into the good image whose surroundings match those of the defect best."""
    above = _unit(data_dir, donor)
    where = _where(data_dir, donor, above.shape[:2])
    places: list[tuple[pasted.Place, Row]] = []
    for good in goods:
        below = _unit(data_dir, good)
        defect = pasted.cut(_as_channels(above, below.shape[2]), where)
        place = None if defect is None else pasted.find_place(below, defect, placed.on_part(below), random)
        if place is not None:
            places.append((place, good))
    if not places:
        return None
    best, good = min(places, key=lambda pair: pair[0].mismatch)
    return pasted.paste(_unit(data_dir, good), best), good


def _written(data_dir: Path, items: Sequence[Synthetic], folder: Path) -> Iterator[Delivery | None]:
    """Make the images on all cores and write them to files, in the order of `items`. Yields None for those not made."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for start in range(0, len(items), AHEAD):
            block = items[start : start + AHEAD]
            yield from pool.map(lambda item: _write(data_dir, item, folder), block)


def _write(data_dir: Path, item: Synthetic, folder: Path) -> Delivery | None:
    made = make(data_dir, item)
    if made is None:
        return None
    good, donor = made.good, made.donor
    title = item.name.replace("/", "-").replace(".png", "")
    image, mask = folder / f"{title}-image.png", folder / f"{title}-mask.png"
    image.write_bytes(codec.encode_png(made.pixels, good["bit_depth"]))
    mask.write_bytes(codec.encode_png(made.mask.astype(np.uint8) * 255))
    types = tuple(donor["defect_types"] or ()) if donor else (item.kind,)
    boxed = donor is not None and not donor["mask"]  # with a box only, the exact pixels of the defect are unknown
    origin = f"good {good['image'][:12]}" + (f", defect of {donor['image'][:12]}" if donor else "")
    return Delivery(
        name=item.name,
        read=image.read_bytes,
        part=f"{SOURCE}/{item.name.removesuffix('.png')}",
        slice=good["slice"],
        label=Label.DEFECT.value,
        split=Split.TRAIN.value,
        defect_types=types,
        mask=None if boxed else mask.read_bytes,
        boxes=[_box(made.mask, types)] if boxed else None,
        labelled_by=f"synthesized: {item.kind}, seed {item.seed}, {origin}",
        licence=good["licence"],
        synthetic=True,
    )


def _photographed(table: pa.Table) -> list[Row]:
    """Return the readable rows of the training split that are not synthetic."""
    train = compute.equal(table["split"], Split.TRAIN.value)
    real = compute.and_(compute.invert(table["synthetic"]), compute.is_null(table["decode_error"]))
    return table.filter(compute.and_(train, real)).select(COLUMNS).to_pylist()


def _random(kind: str, number: int, seed: int, slice: str | None, *more: int) -> np.random.Generator:
    """Return a random generator that depends only on this image, not on others that are made."""
    return np.random.default_rng([seed, KINDS.index(kind), number, zlib.crc32((slice or "").encode()), *more])


def _some(rows: Sequence[Row], most: int, random: np.random.Generator) -> tuple[Row, ...]:
    return tuple(rows[at] for at in random.choice(len(rows), min(most, len(rows)), replace=False))


def _unit(data_dir: Path, row: Row) -> np.ndarray:
    pixels = codec.read(data_dir / row["file"])
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def _as_channels(image: np.ndarray, channels: int) -> np.ndarray:
    if image.shape[2] == channels:
        return image
    return np.repeat(image.mean(axis=2, keepdims=True), channels, axis=2).astype(np.float32)


def _where(data_dir: Path, donor: Row, shape: tuple[int, int]) -> np.ndarray:
    if donor["mask"]:
        return codec.read(data_dir / donor["mask"])[..., 0] > 0
    box = min(donor["boxes"], key=lambda one: one["width"] * one["height"])
    mask = np.zeros(shape, bool)
    top, left = max(0, int(box["y"])), max(0, int(box["x"]))
    mask[top : int(np.ceil(box["y"] + box["height"])), left : int(np.ceil(box["x"] + box["width"]))] = True
    return mask


def _box(mask: np.ndarray, types: Sequence[str]) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    width, height = columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
    return Box(float(columns[0]), float(rows[0]), float(width), float(height), types[0] if types else None)


def kinds_of(text: str) -> Iterator[str]:
    """Yield the kinds in a comma-separated list; `all` means all drawn kinds."""
    for word in text.split(","):
        yield from (kind.value for kind in Kind) if word.strip() == "all" else (word.strip(),)
