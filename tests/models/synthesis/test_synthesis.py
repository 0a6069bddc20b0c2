from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from models.synthesis import drawn, pasted
from models.synthesis.drawn import Kind
from models.synthesis.placed import on_part, place

EVERYWHERE = np.ones((120, 160), bool)


def plate(seed: int = 0, height: int = 120, width: int = 160, channels: int = 1) -> np.ndarray:
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((height, width)), 1)
    return np.repeat(np.clip(0.5 + 0.1 * rough, 0, 1)[..., None], channels, axis=2).astype(np.float32)


def drawn_on(image: np.ndarray, kind: Kind, seed: int) -> tuple[np.ndarray, np.ndarray]:
    part, random = on_part(image), np.random.default_rng(seed)
    made = place(part, lambda: drawn.draw(image, kind, random, part))
    assert made is not None
    return made


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("channels", [1, 3])
def test_a_drawn_defect_shows_inside_its_mask_and_hardly_elsewhere(kind: Kind, seed: int, channels: int) -> None:
    image = plate(channels=channels)
    made, mask = drawn_on(image, kind, seed)
    change = np.abs(made - image).max(axis=2)
    texture = (image - ndimage.gaussian_filter(image, (3, 3, 0))).std()
    assert made.shape == image.shape
    assert made.dtype == np.float32
    assert made.min() >= 0
    assert made.max() <= 1
    assert 0 < mask.mean() < 0.3
    assert change[mask].mean() > max(0.015, 0.7 * texture)
    far = ~ndimage.binary_dilation(mask, iterations=8)
    assert change[far].mean() < 0.02 * change[mask].mean()


@pytest.mark.parametrize("kind", Kind)
def test_the_same_seed_draws_the_same_defect(kind: Kind) -> None:
    one, two, other = (drawn_on(plate(), kind, seed)[0] for seed in (3, 3, 4))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("level", [0.1, 0.9])
def test_a_dark_and_a_bright_part_get_defects_that_show(kind: Kind, level: float) -> None:
    image = np.clip(plate() - 0.5 + level, 0, 1)
    made, mask = drawn_on(image, kind, 1)
    assert np.abs(made - image)[mask].mean() > 0.015


def test_a_defect_that_nobody_would_see_is_none() -> None:
    loud = np.random.default_rng(0).integers(0, 2, (120, 160, 1)).astype(np.float32)
    assert all(drawn.draw(loud, Kind.STAIN, np.random.default_rng(seed)) is None for seed in range(5))


def test_a_grey_image_in_three_channels_gets_no_coloured_stain() -> None:
    made, _ = drawn_on(plate(channels=3), Kind.STAIN, 0)
    assert np.ptp(made, axis=2).max() == 0


def test_what_is_missing_at_the_edge_of_a_part_shows_the_background() -> None:
    image = np.ones((120, 160, 1), np.float32)
    image[20:100, 30:130] = plate()[20:100, 30:130] * 0.6
    made, mask = drawn_on(image, Kind.MISSING, 0)
    assert mask[20:100, 30:130].sum() == mask.sum()
    assert made[ndimage.binary_erosion(mask)].mean() > 0.8


def test_defects_lie_on_the_part_and_not_on_the_background() -> None:
    image = np.ones((120, 160, 1), np.float32)
    image[30:90, 40:120] = plate()[30:90, 40:120]
    part = on_part(image)
    assert part[60, 80]
    assert not part[5, 5]
    for seed in range(5):
        assert part[drawn_on(image, Kind.SPOT, seed)[1]].mean() > 0.9


def test_an_even_surface_is_part_as_far_as_the_border() -> None:
    image = plate()
    image[:, :80] = 0.5
    assert on_part(image).all()


def cut_from(source: np.ndarray, rows: slice, columns: slice) -> pasted.Cut:
    mask = np.zeros(source.shape[:2], bool)
    mask[rows, columns] = True
    found = pasted.cut(source, mask)
    assert found is not None
    return found


def pasted_on(target: np.ndarray, defect: pasted.Cut, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    place = pasted.find_place(target, defect, EVERYWHERE, np.random.default_rng(seed))
    assert place is not None
    return pasted.paste(target, place)


def test_a_pasted_defect_is_as_faint_as_its_new_place_is_dark() -> None:
    source, target = plate(1), plate(2) * 0.5
    source[50:60, 70:90] -= 0.3
    made, mask = pasted_on(target, cut_from(source, np.s_[50:60], np.s_[70:90]))
    assert mask.sum() == 200
    assert (target - made)[mask].mean() == pytest.approx(0.15, abs=0.04)
    far = ~ndimage.binary_dilation(mask, iterations=4)
    assert np.array_equal(made[far], target[far])


def test_a_pasted_defect_leaves_no_step_at_its_border() -> None:
    source, target = plate(1) * 0.4, plate(2) * 0.9
    source[50:60, 70:90] -= 0.1
    made, mask = pasted_on(target, cut_from(source, np.s_[50:60], np.s_[70:90]))
    around = ndimage.binary_dilation(mask, iterations=pasted.MARGIN_PX) & ~mask
    assert np.abs(made - target)[around].mean() < 0.05


@pytest.mark.parametrize("seed", range(6))
def test_what_was_broken_off_an_edge_is_pasted_at_an_edge(seed: int) -> None:
    source = plate(1)
    source[:12, 40:60] = 0.2
    made, mask = pasted_on(plate(2), cut_from(source, np.s_[:12], np.s_[40:60]), seed)
    assert mask[[0, -1]].any()
    assert made[[0, -1]][mask[[0, -1]]].mean() < 0.35  # beyond the picture is nothing that it would have to blend into


def test_a_defect_goes_where_the_surroundings_are_like_its_own() -> None:
    source, target = plate(1), plate(2)
    source[:, ::2] += 0.2
    target[:, 80::2] += 0.2
    source[50:60, 70:78] = 0.1
    defect = cut_from(source, np.s_[50:60], np.s_[70:78])
    places = [np.nonzero(pasted_on(target, defect, seed)[1])[1].mean() for seed in range(10)]
    assert min(places) > 75


def test_blending_an_image_into_itself_changes_nothing() -> None:
    inside = np.zeros((40, 40), bool)
    inside[0:30, 8:33] = True
    image = plate()[:40, :40]
    assert np.allclose(pasted.blend(image, image, inside), image, atol=1e-5)


def test_a_defect_that_is_as_large_as_the_part_is_not_pasted() -> None:
    defect = cut_from(plate(1), np.s_[5:115], np.s_[5:155])
    assert pasted.find_place(plate(2, 60, 60), defect, np.ones((60, 60), bool), np.random.default_rng(0)) is None
    assert pasted.find_place(plate(2), defect, EVERYWHERE, np.random.default_rng(0)) is None
    assert pasted.cut(plate(1), np.zeros((120, 160), bool)) is None
