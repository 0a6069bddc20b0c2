"""Boxes: none twice, the same from network and file, taught where they are, moved with the image."""

from __future__ import annotations

import itertools

import numpy as np
import onnxruntime
import pytest
import torch
from torchvision.ops import batched_nms, box_iou

from models.detection.losses import NOTHING, assigned, loss
from models.detection.network import Network, candidates, centres, kept
from models.detection.training import batch
from models.detector.onnx_graphs import export
from models.images.augmentation import AXES, View, augmented, augmented_boxes
from tests.models.detector.test_detector import TinyBackbone
from tests.models.images.test_augmentation import STILL

SIDE = 64


@pytest.fixture(scope="module")
def network() -> Network:
    """Untrained, but for a head that is sure of many places, so that their boxes compete."""
    torch.manual_seed(0)
    made = Network(TinyBackbone(), 3, head_channels=8, max_detections=20, nms_iou=0.5)  # type: ignore[arg-type]
    torch.nn.init.normal_(made.head.types.weight, std=2)
    torch.nn.init.normal_(made.head.reach.weight, std=1)
    return made.eval()


def crowd(seed: int, n: int = 60) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes that overlap in chains, their scores (best first) and types."""
    random = torch.Generator().manual_seed(seed)
    left_top = torch.rand(n, 2, generator=random) * 0.3
    boxes = torch.cat([left_top, left_top + 0.2 + torch.rand(n, 2, generator=random) * 0.3], dim=1)
    scores = torch.rand(n, generator=random).sort(descending=True).values
    return boxes, scores, torch.randint(0, 2, (n,), generator=random)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("overlap", [0.3, 0.5, 0.7])
def test_non_maximum_suppression_keeps_what_the_loop_of_torchvision_keeps(seed: int, overlap: float) -> None:
    boxes, scores, _ = crowd(seed)
    one_type = torch.zeros(len(boxes), dtype=torch.long)
    stays = kept(boxes[None], one_type[None], overlap)[0]
    assert stays.nonzero()[:, 0].tolist() == sorted(batched_nms(boxes, scores, one_type, overlap).tolist())


def test_boxes_of_two_types_stand_side_by_side_until_they_are_the_same_place() -> None:
    boxes = torch.tensor([[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.42], [0.1, 0.1, 0.5, 0.49]])
    assert kept(boxes[None], torch.tensor([[0, 1, 1]]), 0.6)[0].tolist() == [1, 1, 0]  # 0.8 and 0.98 with the first
    assert kept(boxes[None], torch.tensor([[0, 0, 0]]), 0.6)[0].tolist() == [1, 0, 0]


@pytest.mark.slow  # torch takes some 10 s to export it
def test_the_file_finds_the_network_s_boxes_best_first_and_none_twice(network: Network) -> None:
    session = onnxruntime.InferenceSession(export(network, SIDE, network.outputs).SerializeToString())
    crowded = 0
    for seed in range(3):
        pixels = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
        answers = session.run(None, {"pixels": pixels.numpy()})
        with torch.inference_mode():
            for ours, theirs in zip(network(pixels), answers, strict=True):
                assert np.allclose(ours.numpy(), theirs, atol=1e-4)
            best, kind, places = candidates(*network.head(network.backbone(pixels)))
        found = answers[network.outputs.index("boxes")][0]
        found = torch.from_numpy(found[found[:, 4] > 0])
        assert 1 < len(found) <= 20
        assert (found[:-1, 4] >= found[1:, 4]).all()
        for a, b in itertools.combinations(found, 2):
            assert a[5] != b[5] or box_iou(a[None, :4], b[None, :4]) <= 0.5 + 1e-5
        crowded += int((kept(places, kind, 0.5) == 0).sum())
        assert answers[0][0] == pytest.approx(float(best[0, 0].logit()), abs=1e-3)  # the raw score is the best box's
    assert crowded > 10  # there was something to suppress


def test_relevance_covers_the_boxes(network: Network) -> None:
    with torch.inference_mode():
        relevance, boxes = network(torch.rand(1, 3, SIDE, SIDE))[3:]
    left, top, right, bottom, score, _ = boxes[0, 0].tolist()
    height, width = relevance.shape[1:]
    row, column = int((top + bottom) / 2 * height), int((left + right) / 2 * width)
    assert relevance[0, row, column] >= 0.8 * score
    assert relevance.max() <= 1


def places() -> torch.Tensor:
    return torch.cat([centres(torch.zeros(1, 1, side, side))[0] for side in (8, 4)])


def test_only_places_inside_a_box_learn_it_and_the_smallest_box_has_one() -> None:
    middles = places()
    truth = torch.tensor([[[0.0, 0.0, 0.5, 0.5, 2], [0.80, 0.80, 0.82, 0.82, 1], [0, 0, 0, 0, NOTHING]]])
    boxes = torch.cat([middles - 0.2, middles + 0.2], dim=1)[None]
    wanted, owner = assigned(torch.full((1, len(middles), 3), 0.1), boxes, middles, 1 / 16, truth)
    large, small = (middles[owner[0] == number] for number in (0, 1))
    assert 0 < len(large) <= 10
    assert (large < 0.5).all()
    assert len(small) >= 1
    assert ((small - 0.81).abs() <= 1 / 16 + 1e-6).all()
    assert wanted[0, owner[0] == 0][:, [0, 1]].sum() == 0  # the first box is of type 2
    assert wanted[0, owner[0] == -1].sum() == 0
    assert (owner < 2).all()


def test_learning_brings_the_boxes_to_where_they_are() -> None:
    torch.manual_seed(0)
    middles = places()
    logits = torch.full((2, len(middles), 2), -3.0, requires_grad=True)
    reach = torch.full((2, len(middles), 4), 0.2, requires_grad=True)
    truth = torch.tensor([[[0.1, 0.2, 0.6, 0.9, 1], [0.5, 0, 1, 0.4, 0]], [[0, 0, 1, 1, 0], [0, 0, 0, 0, NOTHING]]])
    optimiser = torch.optim.Adam([logits, reach], 0.05)
    for _ in range(200):
        boxes = torch.cat([middles - reach[..., :2], middles + reach[..., 2:]], dim=2)
        apart = loss(logits, boxes, middles, 1 / 16, truth)
        optimiser.zero_grad()
        apart.backward()
        optimiser.step()
    for image, true in ((0, truth[0, 0]), (0, truth[0, 1]), (1, truth[1, 0])):
        best = logits[image, :, int(true[4])].argmax()
        assert box_iou(boxes[image, best][None], true[None, :4]) > 0.9
        assert logits[image, best, int(true[4])] > logits[image, best, 1 - int(true[4])]


def test_an_image_without_defects_is_background() -> None:
    middles = places()
    logits = torch.zeros(1, len(middles), 2, requires_grad=True)
    boxes = torch.rand(1, len(middles), 4, requires_grad=True)
    _, truth = batch([(torch.zeros(1), np.zeros((0, 5), dtype=np.float32))])
    loss(logits, boxes, middles, 1 / 16, truth).backward()
    assert (logits.grad > 0).all()  # every probability is to fall
    assert boxes.grad is not None


GEOMETRY = STILL.model_copy(update={"rotation_deg": 8, "zoom": 0.2, "shift": 0.15})


@pytest.mark.parametrize("flip", AXES)
@pytest.mark.parametrize("how", [None, STILL, GEOMETRY.model_copy(update={"rotation_deg": 0}), GEOMETRY])
@pytest.mark.parametrize("name", ["one", "other"])
def test_boxes_go_where_the_view_puts_the_defect(flip: str, how: object, name: str) -> None:
    height, width = 120, 200
    image = np.zeros((height, width, 1), dtype=np.uint8)
    image[40:80, 90:120] = 255
    view = View(f"{flip} {how}", flip, how)  # type: ignore[arg-type]
    bright = augmented(image, view, name)[..., 0] > 127
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    there = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    box = np.array([[90 / width, 40 / height, 120 / width, 80 / height, 3]], dtype=np.float32)
    (moved,) = augmented_boxes(box, view, name, height_px=height, width_px=width)
    turned = 5 if how is GEOMETRY else 1.01  # a turned rectangle's corners reach out of the box
    assert np.abs(moved[:4] * [width, height, width, height] - there).max() <= turned
    assert moved[4] == 3


def test_a_box_that_leaves_the_image_is_left_out() -> None:
    far = STILL.model_copy(update={"shift": 0.9})
    box = np.array([[0.4, 0.4, 0.6, 0.6, 0]], dtype=np.float32)
    counts = {
        len(augmented_boxes(box, View(f"shifted {n}", "none", far), "x", height_px=50, width_px=50)) for n in range(20)
    }
    assert counts == {0, 1}
