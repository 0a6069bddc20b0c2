from __future__ import annotations

import functools
import io
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from benchmarks import look_alikes
from models.images import codec, near_duplicates, part_grouping, same_photograph
from models.images.near_duplicates import FAINT, SIMILAR, Pair
from models.images.part_grouping import Tones

N = 120  # parts of a series


def pairs_of(*numbers: tuple[int, int], similarity: float = 0.8) -> list[Pair]:
    return [Pair(first, second, similarity, (0, False)) for first, second in numbers]


def unlike_tones(places: Sequence[int]) -> np.ndarray:
    """Images that have nothing in common."""
    side = same_photograph.SIDE
    return np.stack([np.random.default_rng(place).uniform(0, 1, (side, side)) for place in places])


@functools.cache
def pairs_in(name: str) -> list[Pair]:
    return near_duplicates.find(series(name, N)[0], least=FAINT)


@functools.cache
def series(name: str, n: int) -> tuple[np.ndarray, Tones]:
    """Fingerprints and tones of n parts that look alike."""
    parts = [look_alikes.SERIES[name](number) for number in range(n)]
    tones = np.stack([same_photograph.tones(part) for part in parts])
    return np.stack([near_duplicates.fingerprint(part) for part in parts]), lambda places: tones[list(places)]


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    sink = io.BytesIO()
    Image.fromarray(image[..., 0]).save(sink, format="JPEG", quality=quality)
    return codec.decode(sink.getvalue())


def test_a_group_is_compact_and_no_chain() -> None:
    triangle, chain = [(0, 1), (0, 2), (1, 2)], [(number, number + 1) for number in range(10, 18)]
    grouping = part_grouping.group(pairs_of(*triangle, *chain), 1000, unlike_tones)
    assert grouping.same[0] == [0, 1, 2]
    assert max(map(len, grouping.same[1:])) <= 3
    assert not grouping.alike


def test_more_images_than_anybody_takes_of_one_part_are_look_alikes() -> None:
    n = part_grouping.most_of_one_part(1000) + 1
    everyone = [(first, second) for first in range(n) for second in range(first + 1, n)]
    grouping = part_grouping.group(pairs_of(*everyone), 1000, unlike_tones)
    assert (grouping.same, grouping.alike, grouping.believed) == ([], list(range(n)), [])


def test_faint_likeness_all_over_a_product_makes_its_pairs_doubtful() -> None:
    faint = pairs_of(*((number, number + 100) for number in range(100)), similarity=0.55)
    likely = pairs_of(*((300 + 2 * number, 301 + 2 * number) for number in range(20)))
    assert part_grouping.group([*likely, *faint], 400, unlike_tones).same == []
    assert len(part_grouping.group([*likely, *faint[:15]], 400, unlike_tones).same) == 20


def test_faint_pairs_within_the_pictures_of_one_part_are_no_sign_of_look_alikes() -> None:
    clear = [(first, first + more) for first in range(0, 300, 3) for more in (1, 2)]
    faint = pairs_of(*((first + 1, first + 2) for first in range(0, 300, 3)), similarity=0.55)
    grouping = part_grouping.group([*pairs_of(*clear), *faint], 300, unlike_tones)
    assert len(grouping.believed) == len(clear)


def test_an_item_counts_for_all_the_images_that_it_stands_for() -> None:
    for weight, same in ((30, []), (29, [[0, 1]])):
        assert part_grouping.group(pairs_of((0, 1)), 1000, unlike_tones, weights={0: weight}).same == same


@pytest.mark.parametrize("name", look_alikes.SERIES)
def test_parts_of_one_product_are_not_grouped(name: str) -> None:
    grouping = part_grouping.group(pairs_in(name), N, series(name, N)[1])
    assert grouping.same == []


def test_the_series_of_parts_that_look_alike_hold_pairs_that_used_to_be_believed() -> None:
    names = ("casting held fast, new noise", "casting, new noise, small pose", "loose part at any angle")
    assert all(sum(pair.similarity >= SIMILAR for pair in pairs_in(name)) > N for name in names)


def test_a_photograph_saved_again_is_found_among_parts_that_look_alike() -> None:
    prints, tones = series("loose part at any angle", N)
    original = look_alikes.SERIES["loose part at any angle"]
    copies = [
        jpeg(original(3), 60),
        (original(50) * 0.5).astype(np.uint8),
        np.ascontiguousarray(np.rot90(original(90))),
    ]
    everything = np.concatenate([prints, np.stack([near_duplicates.fingerprint(copy) for copy in copies])])
    values = np.concatenate([tones(range(N)), np.stack([same_photograph.tones(copy) for copy in copies])])
    pairs = near_duplicates.find(everything, least=FAINT)
    grouping = part_grouping.group(pairs, len(everything), lambda places: values[list(places)])
    assert grouping.same == [[3, N], [50, N + 1], [90, N + 2]]
    assert len(grouping.doubted) > 100


@pytest.mark.parametrize("transform", near_duplicates.TRANSFORMS)
def test_nothing_remains_between_an_image_and_its_copy_however_it_lies(transform: tuple[int, bool]) -> None:
    turns, mirrored = transform
    image = look_alikes.SERIES["populated board"](0)
    turned = np.rot90(image, turns)
    copy = np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)
    tones = same_photograph.tones(image), same_photograph.tones((copy * 0.6).astype(np.uint8))
    assert same_photograph.residual(*tones, transform) < 1e-4


def test_a_crop_leaves_less_than_another_part_does() -> None:
    image, another = (look_alikes.SERIES["populated board"](number) for number in range(2))
    whole = same_photograph.tones(image)
    crop = same_photograph.residual(whole, same_photograph.tones(image[4:, 4:]), (0, False))
    part = same_photograph.residual(whole, same_photograph.tones(another), (0, False))
    assert 5 * crop < part
