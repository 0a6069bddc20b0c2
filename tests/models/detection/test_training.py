"""A line whose images all show defects, marked by boxes: from the delivery to regions with types."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.detector.runtime import Detector
from models.errors import BadData
from models.images import codec
from models.training.context import TrainingContext, silent
from models.vocabulary import Label, Split, Verdict
from pipelines.adapters import dataset_versions, git
from pipelines.ingest import ingest
from pipelines.training import learning_data
from pipelines.workspace import Workspace
from tests.conftest import change_params, make_workspace
from tests.progress import Killed, killed_after_two_epochs

SIDE = 64
VOC = "<annotation><filename>{name}</filename><size><width>64</width><height>64</height></size>{objects}</annotation>"
OBJECT = (
    "<object><name>{name}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>"
    "</object>"
)


def part(seed: int, *, good: bool = False) -> tuple[np.ndarray, list[tuple[str, int, int, int, int]]]:
    """Grey, with one dark pit or bright stain in the left half and perhaps one in the right; x, y, width, height."""
    random = np.random.default_rng(seed)
    image = 120 + 6 * random.standard_normal((SIDE, SIDE))
    boxes = []
    for half in range(0 if good else 1 + seed % 2):
        name, level = [("pit", 20), ("stain", 230)][int(random.integers(2))]
        width, height = (int(side) for side in random.integers(12, 24, 2))
        x, y = 32 * half + int(random.integers(0, 33 - width)), int(random.integers(0, 65 - height))
        image[y : y + height, x : x + width] = level
        boxes.append((name, x, y, width, height))
    return np.clip(image, 0, 255).astype(np.uint8), boxes


def write(folder: Path, n: int, *, good: int = 0, boxes: bool = True) -> Path:
    folder.mkdir()
    for number in range(n + good):
        image, marked = part(number, good=number >= n)
        (folder / f"part{number:03d}.png").write_bytes(codec.encode_png(image))
        objects = "".join(
            OBJECT.format(name=name, x=x + 1, y=y + 1, right=x + width, bottom=y + height)
            for name, x, y, width, height in marked
        )
        (folder / f"part{number:03d}.xml").write_text(VOC.format(name=f"part{number:03d}.png", objects=objects))
    return folder


def line(root: Path, delivery: Path, **train: object) -> Workspace:
    place = make_workspace(root / "line")
    change_params(place, {"train": {"epochs": 3, "batch_size": 8, "finetune": "last", **train}})
    model = json.loads(place.params().model_dump_json(include={"model"}))["model"] | {"kind": "detection"}
    change_params(place, {"model": model})
    ingest.ingest(place, str(delivery))
    dataset_versions.add_data(place.root)
    git.commit(place.root, ["data.dvc", "params.yaml"], "Data")
    return place


@pytest.mark.slow
def test_a_line_without_good_parts_learns_boxes_with_types(tmp_path: Path) -> None:
    from pipelines.training import evaluate, export, train

    place = line(tmp_path, write(tmp_path / "delivery", 60), epochs=12, learning_rate=0.005)
    assert set(learning_data.splits(place, place.params())[0].defect_types) == {"pit", "stain"}
    train.main(place)
    export.main(place)
    evaluate.main(place)
    measured = json.loads((place.artifacts / "evaluate" / "evaluation.json").read_text())["boxes"]
    assert measured["map50"] > 0.7
    assert set(measured["map50_by_type"]) == {"pit", "stain"}
    assert "mAP50" in (place.artifacts / "evaluate" / "report.html").read_text()

    detector = Detector(place.artifacts / "export" / "detector.onnx", threads=1)
    assert (detector.metadata.kind, detector.metadata.classes) == ("detection", ("pit", "stain"))
    assert 0 < detector.metadata.heatmap_threshold < 1
    hits = 0
    for seed in range(500, 520):
        image, ((name, x, y, width, height), *_) = part(seed)
        answer = detector.predict(codec.decode(codec.encode_png(image)))
        hits += any(
            one.defect_type == name
            and abs(one.x + one.width / 2 - x - width / 2) < 6
            and abs(one.y + one.height / 2 - y - height / 2) < 6
            for one in answer.regions
        )
        assert answer.class_probabilities.keys() == {"pit", "stain"}
    assert hits >= 15
    empty = detector.predict(part(900, good=True)[0][..., None])
    assert detector.verdict(empty.score) is not Verdict.PASS  # nobody ever showed it a good part


@pytest.mark.slow
@pytest.mark.parametrize("finetune", ["head", "last", "all"])
def test_a_killed_training_goes_on_and_ends_with_the_same_weights(finetune: str, tmp_path: Path) -> None:
    import torch

    from models.detection import training

    place = line(tmp_path, write(tmp_path / "delivery", 24, good=6), finetune=finetune, flips=["none", "horizontal"])
    change_params(place, {"train": {"augment": place.params().train.augment.model_dump() | {"views": 1}}})
    learn, check = learning_data.splits(place, place.params())

    def weights(work: str, progress: Callable = silent) -> dict[str, torch.Tensor]:
        return training.train(
            learn, check, TrainingContext(place.params(), tmp_path / work, tmp_path / "cache", progress=progress)
        ).network.state_dict()

    whole = weights("whole")
    with pytest.raises(Killed):
        weights("killed", killed_after_two_epochs)
    resumed = weights("killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    before = training.build(place.params(), learn.defect_types).state_dict()
    moved = {name for name in before if not torch.equal(before[name], whole[name])}
    assert any(name.startswith("head.") for name in moved)
    assert any("blocks.6" in name for name in moved) == (finetune != "head")
    assert any("conv_stem" in name for name in moved) == (finetune == "all")


@pytest.mark.slow
def test_of_a_vit_the_last_stage_learns_from_pixels(tmp_path: Path) -> None:
    import torch

    from models.detection import training

    place = line(tmp_path, write(tmp_path / "delivery", 24), epochs=1)
    model = json.loads(place.params().model_dump_json(include={"model"}))["model"]
    change_params(place, {"model": model | {"backbone": "vit_tiny_patch16_224", "weights": "none"}})
    learn, check = learning_data.splits(place, place.params())
    network = training.train(learn, check, TrainingContext(place.params(), tmp_path / "work", tmp_path)).network
    before, after = training.build(place.params(), learn.defect_types).state_dict(), network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[3] for name in moved if name.startswith("backbone.body.blocks.")} == {"11"}
    assert any(name.startswith("head.") for name in moved)


def test_good_images_are_background_and_unmarked_defects_are_left_out(tmp_path: Path) -> None:
    from models.detection import training

    place = line(tmp_path, write(tmp_path / "delivery", 20, good=8))
    learn, _ = learning_data.splits(place, place.params())
    assert 0 < (learn.targets == 0).sum() < len(learn)
    unmarked = int(np.flatnonzero(learn.targets)[0])
    learn.boxes[unmarked] = np.zeros((0, 5), dtype=np.float32)  # type: ignore[index]
    told = training.with_usable_boxes(learn)
    assert len(told) == len(learn) - 1
    assert learn.images[unmarked] not in told.images
    assert (told.targets == 0).sum() == (learn.targets == 0).sum()


def test_a_mask_stands_for_boxes_around_its_areas(tmp_path: Path) -> None:
    from dataclasses import replace

    from models.detection import training

    place = line(tmp_path, write(tmp_path / "delivery", 20))
    learn, _ = learning_data.splits(place, place.params())
    mask = np.zeros((40, 80), dtype=np.uint8)
    mask[10:20, 8:24] = mask[30:40, 60:80] = 255
    (tmp_path / "mask.png").write_bytes(codec.encode_png(mask))
    nothing = np.zeros((0, 5), dtype=np.float32)
    masked = replace(
        learn,
        boxes=[nothing, *learn.boxes[1:]],
        masks=[tmp_path / "mask.png", *learn.masks[1:]],
        types=[(1,), *learn.types[1:]],
    )
    there = sorted(map(tuple, training.with_usable_boxes(masked).boxes[0].tolist()))
    assert np.allclose(there, [(0.1, 0.25, 0.3, 0.5, 1), (0.75, 0.75, 1, 1, 1)])
    assert np.array_equal(training.with_usable_boxes(masked).boxes[1], learn.boxes[1])


def test_a_line_without_boxes_is_told_what_is_missing(tmp_path: Path) -> None:
    from dataclasses import replace

    from models.detection import training

    place = line(tmp_path, write(tmp_path / "delivery", 20))
    learn, check = learning_data.splits(place, place.params())
    bare = replace(learn, boxes=[np.zeros((0, 5), dtype=np.float32)] * len(learn))
    with pytest.raises(BadData, match="No defective image of the training split has boxes"):
        training.train(bare, check, TrainingContext(place.params(), tmp_path, tmp_path))


def test_a_kind_that_needs_good_parts_still_says_so(tmp_path: Path) -> None:
    from models.dataset import annotation_table, examples

    place = line(tmp_path, write(tmp_path / "delivery", 20))
    table = annotation_table.load(place.annotations)
    with pytest.raises(BadData, match="none with the label good"):
        examples.of_split(table, place.data, Split.TRAIN, list(Label))
    assert len(examples.of_split(table, place.data, Split.TRAIN, [Label.DEFECT]))
