import numpy as np

from models.regions import regions
from models.vocabulary import Region


def test_each_hot_area_becomes_a_box_in_image_pixels() -> None:
    heatmap = np.zeros((10, 10), dtype=np.float32)
    heatmap[0:2, 0:3] = 0.6
    heatmap[8, 9] = 0.9
    assert regions(heatmap, 0.5, width_px=200, height_px=100) == (
        Region(x=180, y=80, width=20, height=10, score=np.float32(0.9)),
        Region(x=0, y=0, width=60, height=20, score=np.float32(0.6)),
    )


def test_cold_heatmap_has_no_regions() -> None:
    assert regions(np.zeros((5, 5), dtype=np.float32), 0.5, width_px=50, height_px=50) == ()


def test_boxes_stay_inside_images_smaller_than_the_heatmap() -> None:
    (box,) = regions(np.ones((28, 28), dtype=np.float32), 0.5, width_px=13, height_px=7)
    assert (box.x, box.y, box.width, box.height) == (0, 0, 13, 7)
