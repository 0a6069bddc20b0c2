from __future__ import annotations

import functools
import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from models.images import codec, near_duplicates
from models.images.near_duplicates import Pair


def surface(seed: int, side: int = 160) -> np.ndarray:
    """uint8 [side, side, 1]: a rough surface, another one for every seed."""
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((side, side)), 3)
    return np.clip(128 + 220 * rough, 0, 255).astype(np.uint8)[..., None]


@functools.cache
def prints_of_surfaces() -> np.ndarray:
    """Fingerprints of 60 different surfaces."""
    return np.stack([near_duplicates.fingerprint(surface(seed)) for seed in range(60)])


def alike(*variants: np.ndarray) -> list[Pair]:
    """Pairs among 60 different surfaces, then surface 0 in these variants."""
    prints = [near_duplicates.fingerprint(image) for image in variants]
    return near_duplicates.find(np.stack([*prints_of_surfaces(), *prints]))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    sink = io.BytesIO()
    Image.fromarray(image[..., 0]).save(sink, format="JPEG", quality=quality)
    return codec.decode(sink.getvalue())


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


@pytest.mark.slow
def test_many_images_are_searched_through_cells_with_the_same_result() -> None:
    random = np.random.default_rng(0)
    prints = ndimage.gaussian_filter(random.standard_normal((5000, 32, 32)), (0, 1, 1)) * 90
    prints[-50:] = np.rot90(prints[:50], 1, axes=(1, 2)) + random.normal(0, 3, (50, 32, 32))
    found = near_duplicates.find(np.clip(prints, -127, 127).astype(np.int8))
    assert {(pair.first, pair.second) for pair in found} == {(number, 4950 + number) for number in range(50)}
