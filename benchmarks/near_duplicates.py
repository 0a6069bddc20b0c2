"""Which images are taken for one part, and which copies are found.

Run: python -m benchmarks.near_duplicates --datasets FOLDER. False pairs are counted on real sets, where file names tell
what shows one part, and on generated series of parts that look alike. Copies of each kind are planted, of another image
each, and should come to their original's part.
"""

from __future__ import annotations

import argparse
import io
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import look_alikes, page
from models.images import codec, near_duplicates, part_grouping, same_photograph
from models.images.near_duplicates import FAINT, SIMILAR

MAX_FALSE = 0.001  # pairs an image
PARTS = 600  # of a generated series
COPIES = 12  # of each kind
# Looked at: crops that overlap, and one bottle photographed twice.
LOOKED_AT = {
    "neu_det": (
        {"inclusion_188", "inclusion_210"},
        {"pitted_surface_171", "pitted_surface_292"},
        {"patches_2", "patches_5"},
        {"scratches_232", "scratches_247"},
        {"patches_189", "patches_193"},
    ),
    "mvtec_bottle_256": ({"069", "070"},),
}
ONE_TILE = 500  # running numbers of magnetic_tile: one run of exposures 1 to 6 spans up to 460
# Tiles photographed again later: their exposures match one by one, all of them, under numbers far apart.
MOUNTED_AGAIN = (
    (range(85_500, 88_300), range(85_500, 88_300)),
    (range(53_000, 53_100), range(65_000, 65_100)),
    (range(37_000, 37_700), range(37_000, 37_700)),
    (range(8_600, 9_300), range(10_300, 10_800)),
    (range(5_800, 6_000), range(13_500, 13_700)),
    (range(337_600, 337_800), range(349_800, 350_000)),
)
SECOND_VISIT = 542  # numbers of elpv between a cell and its second photograph: one module was photographed twice
VISITED_TWICE = range(1735, 1785)

Read = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Stock:
    """Images by number, and whether two of them show one part."""

    n: int
    read: Read
    one_part: Callable[[int, int], bool]


@dataclass(frozen=True)
class Result:
    name: str
    n: int
    pairs: int
    believed: int
    false: int
    noted: int
    recalled: dict[str, int]
    ms: float


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    sink = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(sink, format="JPEG", quality=quality)
    return codec.decode(sink.getvalue())


def cropped(image: np.ndarray, share: float) -> np.ndarray:
    return image[int(image.shape[0] * share) :, int(image.shape[1] * share) :]


KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG 60": lambda image: jpeg(image, 60),
    "JPEG 30": lambda image: jpeg(image, 30),
    "half exposure": lambda image: (image * 0.5).astype(np.uint8),
    "half size": lambda image: image[::2, ::2],
    "cropped 2 %": lambda image: cropped(image, 0.02),
    "cropped 4 %": lambda image: cropped(image, 0.04),
    "turned": lambda image: np.ascontiguousarray(np.rot90(image)),
    "mirrored": lambda image: np.ascontiguousarray(np.rot90(image, 2)[:, ::-1]),
    "turned, JPEG 60": lambda image: jpeg(np.ascontiguousarray(np.rot90(image, 3)), 60),
    "cropped 2 %, JPEG 60": lambda image: jpeg(cropped(image, 0.02), 60),
}


def measure(name: str, stock: Stock) -> Result:
    started = time.perf_counter()
    prints, tones = _described(stock.read(number) for number in range(stock.n))
    pairs = near_duplicates.find(prints, least=FAINT)
    grouping = part_grouping.group(pairs, stock.n, lambda places: tones[list(places)])
    ms = (time.perf_counter() - started) / stock.n * 1000
    originals = np.random.default_rng(3).permutation(stock.n)[: COPIES * len(KINDS)].tolist()
    kinds = [kind for kind in KINDS for _ in range(COPIES)][: len(originals)]
    planted = _described(
        KINDS[kind](codec.to_rgb8(stock.read(number))) for kind, number in zip(kinds, originals, strict=True)
    )
    prints, tones = np.concatenate([prints, planted[0]]), np.concatenate([tones, planted[1]])
    both = near_duplicates.find(prints, least=FAINT)
    with_copies = part_grouping.group(both, len(prints), lambda places: tones[list(places)])
    group_of = {place: number for number, members in enumerate(with_copies.same) for place in members}
    recalled: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    for place, (kind, original) in enumerate(zip(kinds, originals, strict=True), start=stock.n):
        recalled[kind] += group_of.get(place, -1) == group_of.get(original, -2)
    return Result(
        name,
        stock.n,
        pairs=sum(pair.similarity >= SIMILAR for pair in pairs),
        believed=len(grouping.believed),
        false=sum(not stock.one_part(pair.first, pair.second) for pair in grouping.believed),
        noted=len(grouping.doubted),
        recalled=dict(recalled),
        ms=ms,
    )


def _described(pictures: object) -> tuple[np.ndarray, np.ndarray]:
    both = [(near_duplicates.fingerprint(one), same_photograph.tones(one)) for one in pictures]  # type: ignore[attr-defined]
    return np.stack([print_ for print_, _ in both]), np.stack([tones for _, tones in both])


def stocks(datasets: Path | None) -> dict[str, Stock]:
    """The real sets that are there, by name, then the series."""
    found = {}
    for name, pattern in {
        "x_sdd": "**/*.[jp][pn]g",
        "neu_det": "**/*.jpg",
        "magnetic_tile": "MT_*/Imgs/*.jpg",
        "mvtec_bottle_256": "bottle/t*/**/*.png",
    }.items():
        files = sorted((datasets / name).glob(pattern)) if datasets else []
        if files:
            found[name] = _files(name, files)
        else:
            print(f"{name} is not there: skipped.")
    elpv = find_spec("elpv_dataset")
    if elpv is not None and elpv.origin is not None:
        found["elpv"] = _files("elpv", sorted((Path(elpv.origin).parent / "data/images").glob("*.png")))
    else:
        print("The package elpv-dataset is not there: skipped.")
    series = {name: Stock(PARTS, read, lambda a, b: False) for name, read in look_alikes.SERIES.items()}
    return found | series


def _files(name: str, files: Sequence[Path]) -> Stock:
    def one_part(a: int, b: int) -> bool:
        first, second = files[a], files[b]
        if {first.stem, second.stem} in LOOKED_AT.get(name, ()):
            return True
        if name == "magnetic_tile":
            low, high = sorted(int(re.findall(r"num_(\d+)", path.stem)[0]) for path in (first, second))
            return high - low < ONE_TILE or any(low in before and high in after for before, after in MOUNTED_AGAIN)
        if name == "elpv":
            cells = sorted(int(path.stem[4:]) for path in (first, second))
            return cells[0] in VISITED_TWICE and cells[1] - cells[0] == SECOND_VISIT
        return bool(first.read_bytes() == second.read_bytes())

    return Stock(len(files), lambda number: codec.read(files[number]), one_part)


def report(results: Sequence[Result]) -> str:
    counts = [
        [
            one.name,
            f"{one.n:,}",
            f"{one.pairs:,}",
            f"{one.believed:,}",
            f"{one.false}",
            f"{one.noted:,}",
            f"{one.ms:.1f}",
        ]
        for one in results
    ]
    recall = [[one.name, *(str(one.recalled[kind]) for kind in KINDS)] for one in results]
    return "\n\n".join(
        (
            page.table(["data", "images", "pairs", "believed", "of these false", "noted", "ms/image"], counts),
            f"At most {MAX_FALSE:.1%} of the images may be in false pairs. Copies of {COPIES} of each kind that share their "
            "original's part:",
            page.table(["data", *KINDS], recall),
        )
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=Path, help="the folder of the real sets; without it, only what is installed")
    parser.add_argument("--only", nargs="+", help="names of sets")
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks-data.md")
    given = parser.parse_args(arguments)
    chosen = {name: stock for name, stock in stocks(given.datasets).items() if not given.only or name in given.only}
    results = []
    for name, stock in chosen.items():
        results.append(measure(name, stock))
        print(f"  {results[-1]}", flush=True)
    text = report(results)
    print(text)
    if given.write:
        page.write("Near duplicates", text)
    return int(any(one.false > MAX_FALSE * one.n for one in results))


if __name__ == "__main__":
    raise SystemExit(main())
