from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from models.synthesis import drawn, pasted
from models.synthesis.drawn import Kind
from models.synthesis.placed import on_part, place


def plate(seed: int = 0, height: int = 120, width: int = 160, channels: int = 1) -> np.ndarray:
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((height, width)), 1)
    return np.repeat(np.clip(0.5 + 0.1 * rough, 0, 1)[..., None], channels, axis=2).astype(np.float32)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("seed", range(5))
def test_a_drawn_defect_shows_inside_its_mask_and_nowhere_else(kind: Kind, seed: int) -> None:
    image = plate()
    made, mask = drawn.draw(image, kind, np.random.default_rng(seed))
    change = np.abs(made - image).max(axis=2)
    assert made.shape == image.shape
    assert made.dtype == np.float32
    assert made.min() >= 0
    assert made.max() <= 1
    assert 0 < mask.mean() < 0.3
    assert change[mask].mean() > 4 * change[~ndimage.binary_dilation(mask, iterations=4)].mean()
    assert change[mask].mean() > 0.02


@pytest.mark.parametrize("kind", Kind)
def test_the_same_seed_draws_the_same_defect(kind: Kind) -> None:
    one, two, other = (drawn.draw(plate(), kind, np.random.default_rng(seed))[0] for seed in (3, 3, 4))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_pasted_defect_takes_the_tone_of_its_new_place() -> None:
    source, target = plate(1) * 0.4, plate(2) * 0.9
    mask = np.zeros(source.shape[:2], bool)
    mask[50:60, 70:90] = True
    source[mask] -= 0.1
    result = pasted.paste(target, source, mask, np.random.default_rng(0))
    assert result is not None
    made, placed = result
    assert placed.sum() == mask.sum()
    assert (target - made)[placed].mean() == pytest.approx(0.1, abs=0.05)
    far = ~ndimage.binary_dilation(placed, iterations=4)
    assert np.array_equal(made[far], target[far])


def test_blending_an_image_into_itself_changes_nothing() -> None:
    inside = np.zeros((40, 40), bool)
    inside[5:30, 8:33] = True
    image = plate()[:40, :40]
    assert np.allclose(pasted.blend(image, image, inside), image, atol=1e-5)


def test_a_defect_that_is_larger_than_the_part_is_not_pasted() -> None:
    mask = np.ones((120, 160), bool)
    assert pasted.paste(plate(2, 60, 60), plate(1), mask, np.random.default_rng(0)) is None


def test_defects_lie_on_the_part_and_not_on_the_background() -> None:
    image = np.ones((120, 160, 1), np.float32)
    image[30:90, 40:120] = plate()[30:90, 40:120]
    part = on_part(image)
    assert part[60, 80]
    assert not part[5, 5]
    random = np.random.default_rng(0)
    made = place(image, lambda: drawn.draw(image, Kind.SPOT, random))
    assert made is not None
    assert part[made[1]].mean() > 0.9
