"""Make defective parts for the training split: defects drawn into good images, or cut from real ones and set into them.

What is made enters through the ordinary ingest, marked as synthetic, with its mask and a note of what it was made from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined
from pyarrow import compute
from scipy import ndimage

from models import annotation_table, images
from models.errors import BadInput, NotReady
from models.files import write_whole
from models.synthesis import drawn, pasted
from models.synthesis.drawn import Kind
from models.synthesis.placed import Made, place
from models.vocabulary import Label, Split
from pipelines.ingest.deliveries import Delivery, Source, Track, untracked
from pipelines.ingest.ingest import IngestReport, take_in
from pipelines.pages.pictures import data_uri
from pipelines.workspace import Workspace

SOURCE = "synthetic"
PASTE = "paste"
KINDS = (*(kind.value for kind in Kind), PASTE)
OUTLINE = (255, 60, 60)


@dataclass(frozen=True)
class Synthetic:
    """One image to be made: the good image below it, and the defective one that a defect is cut from, if any."""

    kind: str
    number: int
    seed: int
    good: dict
    donor: dict | None = None

    @property
    def name(self) -> str:
        return f"{self.kind}/seed{self.seed}-{self.number:05d}.png"


def synthesize(
    workspace: Workspace,
    kinds: Sequence[str],
    count: int,
    *,
    seed: int = 0,
    slice: str | None = None,
    track: Track = untracked,
) -> IngestReport:
    """Add `count` images of every kind. The same seed again adds only what is missing.

    Raises BadInput for an unknown kind, NotReady without good training images, or without real defects to cut out.
    """
    table = annotation_table.load(workspace.annotations)
    there = set(table.filter(compute.equal(table["source"], SOURCE))["source_path"].to_pylist())
    wanted = [item for item in plan(table, kinds, count, seed, slice) if item.name not in there]
    deliveries = [_delivery(workspace, item) for item in wanted]
    return take_in(workspace, Source(SOURCE, deliveries), track=track)


def plan(table: pa.Table, kinds: Sequence[str], count: int, seed: int, slice: str | None) -> list[Synthetic]:
    """Which images to make of which: photographed training parts alone, a good one and its donor from one slice."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise BadInput(f"There is no kind {unknown[0]!r} of synthetic defect.", next_step=f"Kinds: {', '.join(KINDS)}.")
    rows = [
        row
        for row in table.to_pylist()
        if row["split"] == Split.TRAIN
        and not row["synthetic"]
        and not row["decode_error"]
        and slice in (None, row["slice"])
    ]
    good = [row for row in rows if row["label"] == Label.GOOD]
    if not good:
        raise NotReady("There are no good images in the training split.", next_step="defectloop ingest FOLDER")
    made = []
    for kind in kinds:
        donors = [row for row in rows if row["label"] == Label.DEFECT and (row["mask"] or row["boxes"])]
        donors = [row for row in donors if any(row["slice"] == other["slice"] for other in good)]
        if kind == PASTE and not donors:
            raise NotReady(
                "No defective training image has a mask or a box to cut a defect from.",
                next_step=f"Ingest masks or boxes, or draw: --kinds {','.join(kind.value for kind in Kind)}",
            )
        for number in range(count):
            random = np.random.default_rng([seed, KINDS.index(kind), number])
            if kind == PASTE:
                donor = donors[random.integers(len(donors))]
                below = [row for row in good if row["slice"] == donor["slice"]]
                made.append(Synthetic(kind, number, seed, below[random.integers(len(below))], donor))
            else:
                made.append(Synthetic(kind, number, seed, good[random.integers(len(good))]))
    return made


def make(data_dir: Path, item: Synthetic) -> tuple[np.ndarray, np.ndarray]:
    """Pixels in the good image's own depth and channels, and the mask bool [h, w]."""
    original = images.read(data_dir / item.good["file"])
    white = np.float32(np.iinfo(original.dtype).max)
    below = original / white
    random = np.random.default_rng([item.seed, KINDS.index(item.kind), item.number, 1])
    if item.donor is None:
        made = place(below, partial(drawn.draw, below, Kind(item.kind), random))
        if made is None:  # a part as small as a spot, or a slit: anywhere is better than nowhere
            made = drawn.draw(below, Kind(item.kind), random)
    else:
        made = place(below, partial(_pasted, data_dir, below, item.donor, random)) or drawn.draw(
            below, Kind.SPOT, random
        )
    pixels, mask = made
    return np.round(pixels * white).astype(original.dtype), mask


def write_preview(
    workspace: Workspace, kinds: Sequence[str], seed: int, slice: str | None, out: Path, each: int = 4
) -> Path:
    """One page with some images of every kind, each beside the image it is made of and with its mask outlined."""
    table = annotation_table.load(workspace.annotations)
    rows = []
    for item in plan(table, kinds, each, seed, slice):
        pixels, mask = make(workspace.data, item)
        before = images.read(workspace.data / item.good["file"])
        rows.append(
            {"name": item.name, "pictures": [data_uri(before), data_uri(pixels), data_uri(outlined(pixels, mask))]}
        )
    template = Environment(loader=PackageLoader("pipelines", "pages"), autoescape=True, undefined=StrictUndefined)
    html = template.get_template("pictures.html").render(
        title=f"{workspace.params().line}: synthetic defects",
        note="The good image, what was made of it, and where the mask says the defect is.",
        rows=rows,
    )
    write_whole(out, html.encode())
    return out


def outlined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """RGB uint8 with the mask's border in red."""
    rgb = images.to_rgb8(image).copy()
    rgb[ndimage.binary_dilation(mask, iterations=2) & ~mask] = OUTLINE
    return rgb


def _pasted(data_dir: Path, below: np.ndarray, donor: dict, random: np.random.Generator) -> Made | None:
    original = images.read(data_dir / donor["file"])
    above = original / np.float32(np.iinfo(original.dtype).max)
    if above.shape[2] != below.shape[2]:
        above = np.repeat(above.mean(axis=2, keepdims=True), below.shape[2], axis=2).astype(np.float32)
    return pasted.paste(below, above, _donor_mask(data_dir, donor, original.shape[:2]), random)


def _donor_mask(data_dir: Path, donor: dict, shape: tuple[int, int]) -> np.ndarray:
    if donor["mask"]:
        return images.read(data_dir / donor["mask"])[..., 0] > 0
    mask = np.zeros(shape, bool)
    box = min(donor["boxes"], key=lambda one: one["width"] * one["height"])
    top, left = max(0, int(box["y"])), max(0, int(box["x"]))
    mask[top : int(np.ceil(box["y"] + box["height"])), left : int(np.ceil(box["x"] + box["width"]))] = True
    return mask


def _delivery(workspace: Workspace, item: Synthetic) -> Delivery:
    kept: list[tuple[bytes, bytes]] = []  # made once, asked for twice: image and mask

    def both() -> tuple[bytes, bytes]:
        if not kept:
            pixels, mask = make(workspace.data, item)
            kept.append((images.encode_png(pixels), images.encode_png(mask.astype(np.uint8) * 255)))
        return kept[0]

    def mask() -> bytes:
        made = both()[1]
        kept.clear()
        return made

    types = item.donor["defect_types"] if item.donor else [item.kind]
    origin = f"good {item.good['image'][:12]}" + (f", defect of {item.donor['image'][:12]}" if item.donor else "")
    return Delivery(
        name=item.name,
        read=lambda: both()[0],
        part=f"{SOURCE}/{Path(item.name).with_suffix('').as_posix()}",
        slice=item.good["slice"],
        label=Label.DEFECT.value,
        split=Split.TRAIN.value,
        defect_types=tuple(types or ()),
        mask=mask,
        labelled_by=f"synthesized: {item.kind}, seed {item.seed}, {origin}",
        licence=item.good["licence"],
        synthetic=True,
    )


def kinds_of(text: str) -> Iterator[str]:
    """The kinds in a list with commas; `all` is every drawn one."""
    for word in text.split(","):
        yield from (kind.value for kind in Kind) if word.strip() == "all" else (word.strip(),)
