from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from models import images, near_duplicates
from models.near_duplicates import Pair


def surface(seed: int, side: int = 160) -> np.ndarray:
    """uint8 [side, side, 1]: a rough surface, another one for every seed."""
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((side, side)), 3)
    return np.clip(128 + 220 * rough, 0, 255).astype(np.uint8)[..., None]


def alike(*variants: np.ndarray) -> list[Pair]:
    """Pairs among 60 different surfaces, then surface 0 in these variants."""
    everything = [surface(seed) for seed in range(60)] + list(variants)
    return near_duplicates.find(np.stack([near_duplicates.fingerprint(image) for image in everything]))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    sink = io.BytesIO()
    Image.fromarray(image[..., 0]).save(sink, format="JPEG", quality=quality)
    return images.decode(sink.getvalue())


def test_different_surfaces_are_no_near_duplicates() -> None:
    assert alike() == []


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(jpeg(surface(0), 30), id="compressed again"),
        pytest.param((surface(0) * 0.5).astype(np.uint8), id="half the exposure"),
        pytest.param(surface(0)[6:, 4:], id="cropped a little"),
        pytest.param(surface(0).astype(np.uint16) * 257, id="16 bit"),
        pytest.param(np.repeat(surface(0), 3, axis=2), id="colour"),
        pytest.param(surface(0)[::2, ::2], id="half the size"),
    ],
)
def test_another_picture_of_the_same_surface_is_found(variant: np.ndarray) -> None:
    assert [(pair.first, pair.second, pair.transform) for pair in alike(variant)] == [(0, 60, (0, False))]


@pytest.mark.parametrize("transform", near_duplicates.TRANSFORMS)
def test_a_turned_or_mirrored_copy_is_found_and_the_way_is_told(transform: tuple[int, bool]) -> None:
    turns, mirrored = transform
    turned = np.rot90(surface(0), turns)
    found = alike(np.ascontiguousarray(turned[:, ::-1] if mirrored else turned))
    assert [(pair.first, pair.second, pair.transform) for pair in found] == [(0, 60, transform)]


def test_parts_of_one_design_are_no_near_duplicates_but_two_pictures_of_one_of_them_are() -> None:
    design = surface(1000).astype(float)
    parts = [design * 0.85 + 0.15 * surface(seed) for seed in range(60)]
    again = parts[7] * 0.9 + np.random.default_rng(0).normal(0, 1, design.shape)
    prints = [near_duplicates.fingerprint(np.clip(part, 0, 255).astype(np.uint8)) for part in [*parts, again]]
    assert {(pair.first, pair.second) for pair in near_duplicates.find(np.stack(prints))} == {(7, 60)}


def test_images_without_structure_are_compared_with_nothing() -> None:
    flat = np.full((64, 64, 1), 90, np.uint8)
    assert near_duplicates.find(np.stack([near_duplicates.fingerprint(flat)] * 5)) == []


def test_only_pairs_with_a_new_image_are_found_when_asked_for_them() -> None:
    everything = [surface(seed) for seed in range(30)] + [surface(0), surface(1)]
    prints = np.stack([near_duplicates.fingerprint(image) for image in everything])
    assert [(pair.first, pair.second) for pair in near_duplicates.find(prints, new=[31])] == [(1, 31)]


def test_many_images_are_searched_through_cells_with_the_same_result() -> None:
    random = np.random.default_rng(0)
    prints = ndimage.gaussian_filter(random.standard_normal((5000, 32, 32)), (0, 1, 1)) * 90
    prints[-50:] = np.rot90(prints[:50], 1, axes=(1, 2)) + random.normal(0, 3, (50, 32, 32))
    found = near_duplicates.find(np.clip(prints, -127, 127).astype(np.int8))
    assert {(pair.first, pair.second) for pair in found} == {(number, 4950 + number) for number in range(50)}


def pairs_of(*numbers: tuple[int, int], similarity: float = 0.8) -> list[Pair]:
    return [Pair(first, second, similarity, (0, False)) for first, second in numbers]


def test_a_group_is_compact_and_no_chain() -> None:
    triangle, chain = [(0, 1), (0, 2), (1, 2)], [(number, number + 1) for number in range(10, 18)]
    grouping = near_duplicates.group(pairs_of(*triangle, *chain), 1000)
    assert grouping.same[0] == [0, 1, 2]
    assert max(map(len, grouping.same[1:])) <= 3
    assert not grouping.alike


def test_more_images_than_anybody_takes_of_one_part_are_look_alikes() -> None:
    n = near_duplicates.most_of_one_part(1000) + 1
    everyone = [(first, second) for first in range(n) for second in range(first + 1, n)]
    grouping = near_duplicates.group(pairs_of(*everyone), 1000)
    assert (grouping.same, grouping.alike, grouping.believed) == ([], list(range(n)), [])


def test_where_parts_look_alike_nothing_is_grouped_among_them_and_elsewhere_only_copies() -> None:
    chain = pairs_of(*((number, number + 1) for number in range(100)), similarity=0.99)
    grouping = near_duplicates.group([*chain, *pairs_of((200, 201), similarity=0.99), *pairs_of((300, 301))], 1000)
    assert (grouping.same, grouping.alike) == ([[200, 201]], list(range(101)))


def test_an_item_counts_for_all_the_images_that_it_stands_for() -> None:
    assert near_duplicates.group(pairs_of((0, 1)), 1000, {0: 30}).same == []
    assert near_duplicates.group(pairs_of((0, 1)), 1000, {0: 29}).same == [[0, 1]]


def look_alike_prints(n: int) -> np.ndarray:
    """int8 [n, 32, 32] of n parts of one design, each with its own noise and a pose of its own within two pixels."""
    design, random = surface(1000).astype(float)[..., 0], np.random.default_rng(0)
    moved = (ndimage.shift(design, random.uniform(-2, 2, 2), order=1, mode="nearest") for _ in range(n))
    noisy = (np.clip(part + random.normal(0, 1, part.shape), 0, 255).astype(np.uint8) for part in moved)
    return np.stack([near_duplicates.fingerprint(part[..., None]) for part in noisy])


def test_good_parts_of_one_product_are_not_one_part() -> None:
    pairs = near_duplicates.find(look_alike_prints(300))
    chained = max(map(len, near_duplicates.connected(pairs)))
    grouping = near_duplicates.group(pairs, 300)
    assert chained > 100  # what used to become one part
    assert len(grouping.alike) >= chained
    assert sum(map(len, grouping.same)) <= 6
