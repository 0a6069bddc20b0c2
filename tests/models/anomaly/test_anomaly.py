from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from models import params
from models.anomaly.coreset import greedy
from models.anomaly.network import Network
from models.anomaly.student import Network as StudentNetwork
from models.anomaly.student import errors
from models.images import codec
from models.params import Params
from models.training.backbones import described
from models.vocabulary import Verdict
from pipelines.workspace import Workspace
from tests.conftest import change_params, make_workspace, picture
from tests.models.detector.test_detector import TinyBackbone


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network(TinyBackbone(), memory_bank_size=20).eval()  # type: ignore[arg-type]


def test_the_bank_takes_the_farthest_patches_first() -> None:
    clusters = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    noise = 0.01 * torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    patches = clusters.repeat(100, 1) + noise
    reach: list[float] = []
    chosen = greedy(patches, 3, 0, lambda done, farthest: reach.append(farthest))
    assert {int(place) % 3 for place in chosen} == {0, 1, 2}
    assert reach == sorted(reach, reverse=True)
    assert torch.equal(chosen, greedy(patches, 3, 0))


def test_a_bank_larger_than_what_there_is_holds_all_of_it() -> None:
    assert sorted(greedy(torch.rand(7, 4), 20, 0).tolist()) == list(range(7))


def test_a_patch_that_is_remembered_has_no_distance(network: Network) -> None:
    patches = network.patches(torch.rand(1, 3, 32, 32))
    network.bank.copy_(patches[0].flatten(1).T[:20])
    distance = network.distances(patches).flatten()
    by_hand = torch.cdist(patches[0].flatten(1).T, network.bank).amin(1)
    assert torch.allclose(distance, by_hand, atol=1e-3)
    assert distance[:20].max() < 1e-2


def test_the_score_is_the_largest_distance_and_relevance_is_finer(network: Network) -> None:
    pixels = torch.rand(2, 3, 32, 32)
    raw, embedding, relevance = network(pixels)
    distance = network.distances(network.patches(pixels))
    assert torch.allclose(raw, distance.amax((1, 2)))
    assert embedding.shape == (2, 2 * network.patches.width)
    assert relevance.shape[1:] == (4 * distance.shape[1], 4 * distance.shape[2])
    assert torch.allclose(relevance.mean(), distance.mean(), rtol=0.1)  # smoothed, not scaled


@pytest.fixture
def taught() -> StudentNetwork:
    torch.manual_seed(0)
    return StudentNetwork(TinyBackbone()).eval()  # type: ignore[arg-type]


def test_a_teachers_channels_count_alike_however_loud_they_are(taught: StudentNetwork) -> None:
    pixels = torch.rand(8, 3, 32, 32)
    for level, raw in enumerate(taught.teacher(pixels)):
        taught.teacher.standardise(level, raw.mean((0, 2, 3)), raw.std((0, 2, 3)))
    for standard in taught.teacher(pixels):
        assert torch.allclose(standard.mean((0, 2, 3)), torch.zeros(standard.shape[1]), atol=1e-4)
        assert torch.allclose(standard.std((0, 2, 3)), torch.ones(standard.shape[1]), atol=1e-3)


def test_a_student_that_agrees_everywhere_finds_nothing_and_one_place_of_disagreement_is_the_hottest(
    taught: StudentNetwork,
) -> None:
    said = taught.teacher(torch.rand(1, 3, 32, 32))
    assert taught.disagreement(said, said).max() == 0
    other = said[0].clone()
    other[0, :, 1, 2] += 5
    found = taught.disagreement((other, *said[1:]), said)[0]
    assert found.argmax() == found.shape[1] + 2


def test_each_level_counts_relative_to_what_is_usual_for_it(taught: StudentNetwork) -> None:
    pixels = torch.rand(4, 3, 32, 32)
    maps, said = taught.teacher(pixels), taught.student(pixels)
    taught.usual.copy_(torch.stack([error.mean() for error in errors(maps, said)]))
    assert torch.allclose(taught.disagreement(maps, said).mean(), torch.ones(()), rtol=0.1)


def test_the_students_score_is_the_hottest_place_of_its_relevance(taught: StudentNetwork) -> None:
    pixels = torch.rand(2, 3, 32, 32)
    raw, embedding, relevance = taught(pixels)
    assert torch.equal(raw, relevance.amax((1, 2)))
    assert torch.allclose(embedding, described(list(taught.teacher(pixels))))


def mvtec(folder: Path, n: int) -> Path:
    for number in range(n):
        path = folder / "train" / "good" / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number, defective=False))
    for number in range(n, n + 16):
        kind = "good" if number % 2 else "scratch"
        path = folder / "test" / kind / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number, defective=kind == "scratch"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("method", ["patchcore", "student_teacher"])
def test_a_line_that_knows_good_parts_alone_gets_a_champion(tmp_path: Path, method: str) -> None:
    from models.detector.runtime import Detector
    from pipelines.adapters import dataset_versions
    from pipelines.ingest import ingest
    from pipelines.promotion import promote
    from pipelines.snapshots import snapshot
    from pipelines.training import register
    from pipelines.validation import validate

    place = make_workspace(tmp_path / "workspace")
    model, steps = (
        {"kind": "anomaly", "anomaly": {"method": method, "memory_bank_size": 60}},
        {"epochs": 3, "learning_rate": 0.003},
    )
    change_params(place, {"model": model, "train": steps, "cost": {"false_alarm_rate": 0.12}})
    ingest.ingest(place, str(mvtec(tmp_path / "delivery", 50)))
    assert validate.validate(place).passed
    snapshot.snapshot(place)
    for stage in ("train", "export", "evaluate"):
        dataset_versions.run_stage(place, stage)
    detector = Detector(place.artifacts / "export" / "detector.onnx")
    assert detector.metadata.kind == "anomaly"
    hits = 0
    for seed in range(200, 220):
        answer = detector.predict(codec.decode(picture(seed, defective=seed % 2 == 0)))
        hits += (detector.verdict(answer.score) != Verdict.PASS) == (seed % 2 == 0)
        assert 0 <= answer.heatmap.min() <= answer.heatmap.max() <= 1
    assert hits >= 17
    decision = promote.promote(place, register.register(place).version)
    assert decision.promote, decision.reasons


def trained(place: Workspace, work: Path) -> torch.nn.Module:
    from models.anomaly import training
    from models.training.context import TrainingContext
    from pipelines.training import learning_data

    learn, check = learning_data.splits(place, place.params())
    return training.train(learn, check, TrainingContext(place.params(), work, work / "cache")).network


def good_line(tmp_path: Path, model: dict, train: dict) -> Workspace:
    from pipelines.ingest import ingest

    place = make_workspace(tmp_path / "workspace")
    change_params(place, {"model": {"kind": "anomaly"} | model, "train": train})
    ingest.ingest(place, str(mvtec(tmp_path / "delivery", 30)))
    return place


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bank_whatever_the_number_of_images_is(tmp_path: Path) -> None:
    place = good_line(tmp_path, {}, {})
    first = trained(place, tmp_path / "work").bank
    assert first.shape[0] == place.params().model.anomaly.memory_bank_size
    assert torch.equal(first, trained(place, tmp_path / "work").bank)
    assert np.isfinite(first.numpy()).all()


@pytest.mark.slow
def test_a_killed_distillation_goes_on_to_the_same_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from models.anomaly import distillation
    from models.anomaly.lightning_module import Distillation

    monkeypatch.setattr(distillation, "PICTURES", 64)
    augment = params_of_checkout().train.augment.model_dump() | {"views": 2}
    model = {"anomaly": {"method": "student_teacher", "memory_bank_size": 1}}
    place = good_line(tmp_path, model, {"epochs": 3, "augment": augment})
    whole = trained(place, tmp_path / "whole")

    def dies(self: Distillation) -> None:
        if self.current_epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as change:
        change.setattr(Distillation, "on_train_epoch_start", dies)
        with contextlib.suppress(KeyboardInterrupt, SystemExit):
            trained(place, tmp_path / "killed")
    assert (tmp_path / "killed" / "resume.ckpt").exists()
    resumed = trained(place, tmp_path / "killed")
    untouched = trained(place, tmp_path / "again")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
        assert torch.equal(value, untouched.state_dict()[name]), name


def params_of_checkout() -> Params:
    return params.load(Path(__file__).parents[3] / "params.yaml")
