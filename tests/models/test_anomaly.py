from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models import images
from models.anomaly.coreset import greedy
from models.anomaly.network import Network
from models.vocabulary import Verdict
from tests.conftest import change_params, make_workspace, picture
from tests.models.test_detector import TinyBackbone


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network(TinyBackbone(), bank_size=20).eval()  # type: ignore[arg-type]


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
def test_a_line_that_knows_good_parts_alone_gets_a_champion(tmp_path: Path) -> None:
    from models.runtime import Detector
    from pipelines import promote, register, snapshot, validate
    from pipelines.adapters import dataset_versions
    from pipelines.ingest import ingest

    place = make_workspace(tmp_path / "workspace")
    change_params(place, {"model": {"kind": "anomaly"}, "cost": {"false_alarm_rate": 0.12}})
    ingest.ingest(place, str(mvtec(tmp_path / "delivery", 50)))
    assert validate.validate(place).passed
    snapshot.snapshot(place)
    for stage in ("train", "export", "evaluate"):
        dataset_versions.run_stage(place, stage)
    detector = Detector(place.artifacts / "export" / "detector.onnx")
    assert detector.metadata.kind == "anomaly"
    hits = 0
    for seed in range(200, 220):
        answer = detector.predict(images.decode(picture(seed, defective=seed % 2 == 0)))
        hits += (detector.verdict(answer.score) != Verdict.PASS) == (seed % 2 == 0)
        assert 0 <= answer.heatmap.min() <= answer.heatmap.max() <= 1
    assert hits >= 17
    decision = promote.promote(place, register.register(place).version)
    assert decision.promote, decision.reasons


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bank_whatever_the_number_of_images_is(tmp_path: Path) -> None:
    import contextlib

    from models.anomaly import training
    from pipelines import learning_data
    from pipelines.ingest import ingest

    place = make_workspace(tmp_path / "workspace")
    change_params(place, {"model": {"kind": "anomaly"}})
    ingest.ingest(place, str(mvtec(tmp_path / "delivery", 30)))
    learn, check = learning_data.splits(place, place.params())

    @contextlib.contextmanager
    def silent(title: str, total: int):  # type: ignore[no-untyped-def]
        yield lambda done: None

    def bank() -> torch.Tensor:
        where = {"work": tmp_path / "work", "cache": tmp_path / "cache"}
        made = training.train(learn, check, place.params(), logger=False, progress=silent, **where)
        return made.network.bank

    first = bank()
    assert first.shape[0] == place.params().model.anomaly.bank_size
    assert torch.equal(first, bank())
    assert np.isfinite(first.numpy()).all()
