"""Where a heatmap says 0.5: by outlines where there are any, else by what good parts show."""

from __future__ import annotations

import numpy as np
import pytest

from models.thresholds import heat_scale


def relevance(n: int = 8, defect: float = 4.0) -> tuple[np.ndarray, np.ndarray, list[np.ndarray | None]]:
    """Every part has a warm edge; every second one a hot square, whose surroundings are a little hot too."""
    maps = np.random.default_rng(0).random((n, 20, 20)).astype(np.float32)
    maps[:, :2] += 3
    defective = np.arange(n) % 2 == 1
    outlines: list[np.ndarray | None] = [None] * n
    for number in np.flatnonzero(defective):
        maps[number, 6:14, 6:14] += defect / 2
        maps[number, 8:12, 8:12] += defect / 2
        outline = np.zeros((40, 40), dtype=bool)
        outline[16:24, 16:24] = True
        outlines[number] = outline
    return maps, defective, outlines


def test_regions_begin_where_they_fit_the_outlines_best() -> None:
    maps, defective, outlines = relevance()
    scale = heat_scale.fit(maps, defective, outlines, "place")
    hot = (maps[1] - scale.usual) >= scale.begins
    assert hot[9:11, 9:11].all()
    assert hot.sum() < 6 * 6  # and not the lukewarm 8 × 8


def test_without_outlines_good_parts_hardly_reach_the_beginning_of_a_region() -> None:
    maps, defective, outlines = relevance()
    scale = heat_scale.fit(maps, defective, [None] * len(outlines), "place")
    good = maps[~defective] - scale.usual
    assert (good >= scale.begins).mean() == pytest.approx(0.005, abs=0.003)


def test_what_every_good_part_shows_in_a_place_is_usual_there_alone() -> None:
    maps, defective, outlines = relevance()
    by_place = heat_scale.fit(maps, defective, outlines, "place").usual
    overall = heat_scale.fit(maps, defective, outlines, "overall").usual
    assert by_place[:2].mean() > by_place[2:].mean() + 2
    assert np.ptp(overall) == 0


def test_the_probability_of_a_network_that_learned_outlines_is_a_region_from_one_half_on() -> None:
    maps, defective, outlines = relevance()
    scale = heat_scale.fit(maps / 10, defective, outlines, "none")
    assert scale.begins == 0.5
    assert not scale.usual.any()


def test_a_map_without_any_heat_does_not_divide_by_nothing() -> None:
    _, defective, outlines = relevance()
    scale = heat_scale.fit(np.zeros((8, 20, 20), dtype=np.float32), defective, outlines, "place")
    assert scale.begins > 0
