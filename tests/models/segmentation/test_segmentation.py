"""A line whose defects are outlined: from the delivery to regions that fit, and what teaches without an outline."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from models.detector.onnx_graphs import export
from models.detector.runtime import Detector
from models.errors import BadData
from models.images import codec
from models.segmentation import training
from models.segmentation.network import CONTEXT, LEVELS, Network
from models.training import backbones
from models.training.backbones import described
from models.training.context import TrainingContext, silent
from pipelines.adapters import dataset_versions, git
from pipelines.ingest import ingest
from pipelines.training import learning_data
from pipelines.workspace import Workspace
from tests.conftest import change_params, make_workspace
from tests.progress import Killed, killed_after_two_epochs

SIDE = 64
KINDS = {"pit": 20, "stain": 230}


def part(seed: int, kind: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Grey image and mask, uint8 [64, 64], with a disc of the kind's own grey."""
    random = np.random.default_rng(seed)
    image = 120 + 6 * random.standard_normal((SIDE, SIDE))
    x, y, radius = (*random.integers(14, 50, 2), random.integers(6, 12))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = ((rows - y) ** 2 + (columns - x) ** 2 < radius**2) & (kind is not None)
    image[inside] = KINDS.get(kind or "", 0)
    return np.clip(image, 0, 255).astype(np.uint8), inside.astype(np.uint8) * 255


def write(folder: Path, n: int) -> Path:
    """Two thirds of the parts are defective, their masks beside them."""
    for number in range(n):
        kind = ("pit", "stain", None)[number % 3]
        image, mask = part(number, kind)
        where = folder / (kind or "good") / "Imgs"
        where.mkdir(parents=True, exist_ok=True)
        (where / f"part{number:03d}.jpg").write_bytes(jpeg(image))
        (where / f"part{number:03d}.png").write_bytes(codec.encode_png(mask))
    return folder


def jpeg(image: np.ndarray) -> bytes:
    import io

    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(image).save(sink, format="JPEG", quality=95)
    return sink.getvalue()


def line(root: Path, n: int, **train: object) -> Workspace:
    place = make_workspace(root / "line")
    model = json.loads(place.params().model_dump_json(include={"model"}))["model"] | {"kind": "segmentation"}
    change_params(place, {"model": model, "train": {"epochs": 3, "batch_size": 8, "finetune": "all", **train}})
    ingest.ingest(place, str(write(root / "delivery", n)))
    dataset_versions.add_data(place.root)
    git.commit(place.root, ["data.dvc", "params.yaml"], "Data")
    return place


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    tuned, unchanged = (backbones.build("tf_efficientnet_lite0", "none", SIDE, seed, levels=LEVELS) for seed in (0, 1))
    return Network(tuned, 3, unchanged).eval()


@pytest.mark.slow  # torch takes some 20 s to export it
@pytest.mark.parametrize("side", [64, 72, 100])
def test_the_exported_graph_answers_as_the_network_at_any_side(network: Network, side: int) -> None:
    pixels = torch.rand(1, 3, side, side)
    session = onnxruntime.InferenceSession(export(network, side, network.outputs).SerializeToString())
    with torch.inference_mode():
        for ours, theirs in zip(network(pixels), session.run(None, {"pixels": pixels.numpy()}), strict=True):
            assert np.allclose(ours.numpy(), theirs, atol=1e-3)


def test_a_vit_answers_too_as_finely_as_its_patches() -> None:
    torch.manual_seed(0)
    backbone = backbones.build("vit_tiny_patch16_224", "none", SIDE, 0, levels=LEVELS)
    with torch.inference_mode():
        raw, embedding, relevance = Network(backbone).eval()(torch.rand(2, 3, SIDE, SIDE))
    assert (raw.shape, relevance.shape) == ((2,), (2, SIDE // 16, SIDE // 16))
    assert embedding.isfinite().all()


def test_relevance_is_a_probability_of_every_second_pixel(network: Network) -> None:
    with torch.inference_mode():
        raw, _, relevance, types = network(torch.rand(2, 3, SIDE, SIDE))
    assert relevance.shape == (2, SIDE // 2, SIDE // 2)
    assert 0 <= relevance.min() < relevance.max() <= 1
    assert (raw.shape, types.shape) == ((2,), (2, 3))


def test_the_score_is_the_mean_of_what_the_tuned_backbone_and_the_unchanged_one_say(network: Network) -> None:
    pixels = torch.rand(2, 3, SIDE, SIDE)
    with torch.inference_mode():
        raw, embedding, *_ = network(pixels)
        assert torch.equal(embedding, described(network.unchanged(pixels).maps[-CONTEXT:]))
        assert torch.allclose(raw, (network.tuned(pixels).raw + network.unchanged(pixels).raw) / 2)
        assert not torch.allclose(network.tuned(pixels).raw, network.unchanged(pixels).raw)


@pytest.mark.slow
def test_outlined_defects_are_found_where_they_are_and_told_apart(tmp_path: Path) -> None:
    from pipelines.training import evaluate, export, train

    place = line(tmp_path, 60, epochs=12, learning_rate=0.004)
    train.main(place)
    export.main(place)
    evaluate.main(place)
    measured = json.loads((place.artifacts / "evaluate" / "evaluation.json").read_text())
    assert measured["overall"]["auroc"] > 0.95
    assert measured["pixels"]["iou"] > 0.6
    assert measured["pixels"]["aupro"] > 0.8
    assert measured["types"]["macro_f1"] > 0.8
    assert set(measured["recall_at_false_alarm_rate"]) == {"0.01", "0.05"}
    assert "IoU" in (place.artifacts / "evaluate" / "report.html").read_text()
    assert "AUPRO" in (place.artifacts / "evaluate" / "model-card.md").read_text()

    detector = Detector(place.artifacts / "export" / "detector.onnx", threads=1)
    image, mask = part(500, "pit")
    (region, *_) = detector.predict(codec.decode(jpeg(image))).regions
    rows, columns = np.nonzero(mask)
    assert abs(region.x + region.width / 2 - columns.mean()) < 5
    assert abs(region.y + region.height / 2 - rows.mean()) < 5
    assert abs(region.width - np.ptp(columns)) < 8


@pytest.mark.slow
@pytest.mark.parametrize("finetune", ["head", "all"])
def test_a_killed_training_goes_on_and_ends_with_the_same_weights(finetune: str, tmp_path: Path) -> None:
    place = line(tmp_path, 36, finetune=finetune, flips=["none", "horizontal"])
    change_params(place, {"train": {"augment": place.params().train.augment.model_dump() | {"views": 1}}})
    learn, check = learning_data.splits(place, place.params())

    def weights(work: str, progress: Callable = silent) -> dict[str, torch.Tensor]:
        return training.train(
            learn, check, TrainingContext(place.params(), tmp_path / work, tmp_path, progress=progress)
        ).network.state_dict()

    whole = weights("whole")
    with pytest.raises(Killed):
        weights("killed", killed_after_two_epochs)
    resumed = weights("killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    before = training.build(place.params(), learn.defect_types).state_dict()
    moved = {name for name in before if not torch.equal(before[name], whole[name])}
    assert any(name.startswith("tuned.decoder.") for name in moved)
    assert any("blocks.6" in name for name in moved) == (finetune != "head")
    assert any("conv_stem" in name for name in moved) == (finetune == "all")
    assert not any(name.startswith("unchanged.backbone.") or "running_" in name for name in moved if "backbone" in name)
    assert any(name.startswith("unchanged.decoder.") for name in moved) == (finetune != "head")


@pytest.mark.slow
def test_a_defect_that_nobody_outlined_teaches_no_pixel_and_is_counted(tmp_path: Path) -> None:
    from models.segmentation.lightning_module import Segmentation

    place = line(tmp_path, 24)
    learn, check = learning_data.splits(place, place.params())
    first = int(np.flatnonzero(learn.targets)[0])
    masks = [None if number == first else mask for number, mask in enumerate(learn.masks)]
    unmarked = replace(learn, masks=masks)
    dataset = training.WithMasks(unmarked, SIDE)
    assert dataset[first][4] == 0
    assert dataset[int(np.flatnonzero(learn.targets)[1])][4] == 1
    assert dataset[int(np.flatnonzero(learn.targets == 0)[0])][4] == 1  # a good part: all its pixels are good

    network = training.build(place.params(), learn.defect_types).eval()
    module = Segmentation(network, place.params().train)
    batch = [column[None] for column in dataset[first]]
    module._loss(network, batch)[0].backward()
    alone = network.tuned.pixel.bias.grad.clone()
    network.zero_grad()
    batch[3] = 1 - batch[3]  # whatever is said of its pixels changes nothing
    module._loss(network, batch)[0].backward()
    assert torch.equal(alone, network.tuned.pixel.bias.grad)

    noted = training.train(unmarked, check, TrainingContext(place.params(), tmp_path / "work", tmp_path)).noted
    assert noted == ["1 defective images without a mask, used for the score only"]


def test_a_line_without_any_outline_is_told_what_is_missing(tmp_path: Path) -> None:
    place = line(tmp_path, 24)
    learn, check = learning_data.splits(place, place.params())
    bare = replace(learn, masks=[None] * len(learn))
    with pytest.raises(BadData, match="No defective image of the training split has a non-empty mask"):
        training.train(bare, check, TrainingContext(place.params(), tmp_path, tmp_path))
