"""Pixels against masks: the numbers of well-known definitions, from counts alone."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import jaccard_score, roc_auc_score

from models.metrics.pixel_metrics import Tally


def images(n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = np.zeros((n, 40, 50), dtype=bool)
    for number in range(0, n, 2):
        truth[number, 5:12, 8:20] = True
        truth[number, 30:33, 40:44] = True
    heat = np.clip(random.normal(0.3, 0.15, truth.shape) + 0.25 * truth, 0, 1)
    return heat, truth


def tallied(heat: np.ndarray, truth: np.ndarray) -> Tally:
    tally = Tally()
    for one, mask in zip(heat, truth, strict=True):
        tally.add(one, mask)
    return tally


def test_iou_and_auroc_are_those_of_all_pixels_together() -> None:
    heat, truth = images()
    quality = tallied(heat, truth).quality(0.5)
    assert quality is not None
    assert (quality.n_images, quality.n_marked) == (6, 3)
    assert quality.iou == pytest.approx(jaccard_score(truth.ravel(), heat.ravel() >= 0.5), abs=1e-3)
    assert quality.auroc == pytest.approx(roc_auc_score(truth.ravel(), heat.ravel()), abs=1e-4)


def test_a_small_region_counts_as_much_as_a_large_one_in_aupro() -> None:
    _, truth = images(2)
    found_both, found_large = truth.astype(float), truth.astype(float)
    found_large[:, 30:33, 40:44] = 0
    both, large = tallied(found_both, truth).quality(0.5), tallied(found_large, truth).quality(0.5)
    assert both is not None
    assert large is not None
    assert both.aupro == pytest.approx(1.0, abs=1e-3)
    # Up to 30 % of the good pixels, the small region is found by chance alone: half of 30 % of it on average.
    assert large.aupro == pytest.approx(0.5 + 0.5 * 0.15, abs=2e-3)
    assert large.iou > 0.85


def test_heat_without_any_relation_to_the_masks_is_worth_a_coin() -> None:
    _, truth = images()
    quality = tallied(np.random.default_rng(1).random(truth.shape), truth).quality(0.5)
    assert quality is not None
    assert quality.auroc == pytest.approx(0.5, abs=0.03)
    assert quality.aupro == pytest.approx(0.15, abs=0.03)


def test_the_best_threshold_has_the_best_iou() -> None:
    heat, truth = images()
    tally = tallied(heat, truth)
    best = tally.best_threshold()
    assert best is not None
    levels = np.linspace(0.05, 0.95, 91)
    ious = [jaccard_score(truth.ravel(), heat.ravel() >= level) for level in levels]
    at_best = tally.quality(best)
    assert at_best is not None
    assert at_best.iou >= max(ious) - 1e-3


def test_good_images_alone_say_nothing() -> None:
    tally = tallied(np.zeros((3, 8, 8)), np.zeros((3, 8, 8), dtype=bool))
    assert tally.quality(0.5) is None
    assert tally.best_threshold() is None


def test_defects_that_cover_every_pixel_leave_nothing_to_compare() -> None:
    assert tallied(np.ones((1, 8, 8)), np.ones((1, 8, 8), dtype=bool)).quality(0.5) is None
