import numpy as np

from models.detector.regions import from_boxes, from_heatmap
from models.vocabulary import Region


def test_each_hot_area_becomes_a_box_in_image_pixels() -> None:
    heatmap = np.zeros((10, 10), dtype=np.float32)
    heatmap[0:2, 0:3] = 0.6
    heatmap[8, 9] = 0.9
    assert from_heatmap(heatmap, 0.5, width_px=200, height_px=100) == (
        Region(x=180, y=80, width=20, height=10, score=np.float32(0.9)),
        Region(x=0, y=0, width=60, height=20, score=np.float32(0.6)),
    )


def test_cold_heatmap_has_no_regions() -> None:
    assert from_heatmap(np.zeros((5, 5), dtype=np.float32), 0.5, width_px=50, height_px=50) == ()


def test_boxes_stay_inside_images_smaller_than_the_heatmap() -> None:
    (box,) = from_heatmap(np.ones((28, 28), dtype=np.float32), 0.5, width_px=13, height_px=7)
    assert (box.x, box.y, box.width, box.height) == (0, 0, 13, 7)


def test_boxes_of_the_network_become_regions_within_the_image() -> None:
    boxes = np.array(
        [[0.1, 0.2, 0.5, 0.4, 0.9, 1], [0.9, 0.9, 1.2, 1.1, 0.6, 0], [0, 0, 1, 1, 0.1, 0], [0, 0, 0, 0, 0, 0]],
        dtype=np.float32,
    )
    first, second = from_boxes(boxes, 0.3, ("crack", "dent"), width_px=100, height_px=50)
    assert (first.x, first.y, first.width, first.height, first.defect_type) == (10, 10, 40, 10, "dent")
    assert (second.x + second.width, second.y + second.height, second.defect_type) == (100, 50, "crack")
