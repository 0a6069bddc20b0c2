from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from models.images import codec
from models.images.augmentation import View, augmented, augmented_mask, vary, view_at, views
from models.params import Augment, Train, load
from tests.models.images.test_near_duplicates import surface

STILL = Augment(
    views=0, rotation_deg=0, zoom=0, shift=0, brightness=0, contrast=0, blur_px=0, noise=0, jpeg_quality=None
)  # fmt: skip


def train(**augment: object) -> Train:
    settings = load(Path("params.yaml")).train
    return settings.model_copy(update={"augment": STILL.model_copy(update=augment)})


def test_the_default_views_are_the_flips_under_their_own_names() -> None:
    assert [view.name for view in views(train())] == ["none", "horizontal"]


@pytest.mark.parametrize(
    "how",
    [{"rotation_deg": 20}, {"zoom": 0.3}, {"shift": 0.2}, {"brightness": 0.5}, {"contrast": 0.5},
     {"blur_px": 3}, {"noise": 0.2}, {"jpeg_quality": 5}],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_each_setting_changes_the_image_and_keeps_its_size_and_type(how: dict, dtype: type) -> None:
    image = surface(1).astype(dtype) * (257 if dtype is np.uint16 else 1)
    varied = vary(image, STILL.model_copy(update=how), np.random.default_rng(0))
    assert varied.shape == image.shape
    assert varied.dtype == image.dtype
    assert np.array_equal(varied, image) == ("jpeg_quality" in how and dtype is np.uint16)


def test_nothing_asked_for_changes_nothing() -> None:
    assert np.array_equal(vary(surface(1), STILL, np.random.default_rng(0)), surface(1))


def test_views_are_the_same_in_every_run_and_differ_from_image_to_image() -> None:
    one, two = views(train(views=2, noise=0.1))[2:]
    image = surface(1)
    assert np.array_equal(augmented(image, one, "a"), augmented(image, one, "a"))
    assert not np.array_equal(augmented(image, one, "a"), augmented(image, one, "b"))
    assert not np.array_equal(augmented(image, one, "a"), augmented(image, two, "a"))


def test_another_setting_is_another_name_and_more_views_keep_the_names_of_the_first() -> None:
    few, more = ([view.name for view in views(train(views=n, noise=0.1))] for n in (1, 3))
    assert more[: len(few)] == few
    assert few[-1] not in [view.name for view in views(train(views=3, noise=0.2))]


def test_cached_features_draw_from_the_same_views_in_every_epoch() -> None:
    from models.training.fitting import EpochOrder

    order = EpochOrder(5, 4, seed=1)
    seen_in = []
    for epoch in range(20):
        order.set_epoch(epoch)
        seen_in += [index // 5 for index in order]
    assert set(seen_in) == {0, 1, 2, 3}


def test_pixels_are_varied_anew_in_every_epoch_and_alike_in_every_run() -> None:
    from models.training.fitting import EpochOrder

    def drawn(epoch: int) -> list[int]:
        order = EpochOrder(50, 4, seed=1, fresh=2)
        order.set_epoch(epoch)
        indices = list(order)
        assert sorted(index % 50 for index in indices) == list(range(50))
        return [index // 50 for index in indices]

    assert drawn(3) == drawn(3)
    epochs = [{number for number in drawn(epoch) if number > 1} for epoch in range(3)]
    assert epochs == [{2, 3}, {4, 5}, {6, 7}]
    assert all({0, 1} & set(drawn(epoch)) for epoch in range(3))  # the flips stay what they are


def test_every_number_is_a_view_of_its_own_and_a_dataset_shows_it(tmp_path: Path) -> None:
    from models.dataset.torch_dataset import ImageDataset

    settings = train(views=2, noise=0.1)
    assert len({view_at(settings, number).name for number in range(50)}) == 50
    (tmp_path / "a.png").write_bytes(codec.encode_png(surface(1)))
    shown = ImageDataset([tmp_path / "a.png"], np.ones(1), 32, partial(view_at, settings))
    first, later, again = (shown[number][0].numpy() for number in (2, 9, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, later)


def test_a_flip_is_a_mirror_image() -> None:
    assert np.array_equal(augmented(surface(1), View("horizontal", "horizontal"), "a"), surface(1)[:, ::-1])


@pytest.mark.parametrize("flip", ["none", "horizontal", "vertical", "both"])
@pytest.mark.parametrize("how", [{}, {"rotation_deg": 30}, {"zoom": 0.3}, {"shift": 0.2}])
def test_a_mask_moves_with_its_image(flip: str, how: dict) -> None:
    image = np.full((60, 90, 1), 50, dtype=np.uint8)
    mask = np.zeros((60, 90), dtype=bool)
    mask[20:35, 30:50] = mask[40:44, 60:64] = True
    image[mask] = 200
    view = View(f"{flip} {how}", flip, STILL.model_copy(update=how))
    shown, moved = augmented(image, view, "part")[..., 0] > 125, augmented_mask(mask, view, "part")
    assert moved.shape == mask.shape
    assert (shown != moved).mean() < 0.01  # edges between pixels
    assert (shown & moved).any()
