"""Network, sealed file and runtime: the same answer on every way, and nothing exported that disagrees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.classification.network import Heads, Network, pool
from models.detector.runtime import Detector
from models.errors import BadInput, BadParams, NotReady
from models.images import codec
from models.vocabulary import Verdict
from tests.conftest import picture


class TinyBackbone(torch.nn.Module):
    """Three feature maps without timm: fast, and small enough to differentiate by autograd."""

    channels = (4, 5, 6)

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.Conv2d(before, after, 3, stride=2, padding=1)
            for before, after in zip((3, 4, 5), self.channels, strict=True)
        )

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for layer in self.layers:
            pixels = torch.relu(layer(pixels))
            maps.append(pixels)
        return maps


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    made = Network(TinyBackbone(), hidden=8, ensemble_size=3, dropout=0.5)  # type: ignore[arg-type]
    made.heads.fit_standardisation(pool(made.backbone(torch.rand(20, 3, 32, 32))).detach())
    return made.eval()


def test_the_exported_score_is_the_mean_of_the_members(network: Network) -> None:
    pixels = torch.rand(4, 3, 32, 32)
    raw, _, _ = network(pixels)
    assert torch.allclose(raw, network.heads(pool(network.backbone(pixels))).mean(1), atol=1e-5)


def test_the_gradient_without_autograd_is_autograd_s(network: Network) -> None:
    features = torch.rand(5, 45, requires_grad=True)
    _, by_hand = network.heads.explained(features)
    network.heads(features).mean(1).sum().backward()
    assert torch.allclose(by_hand, features.grad, atol=1e-5)


def test_relevance_is_where_the_logit_comes_from(network: Network) -> None:
    _, _, relevance = network(torch.rand(2, 3, 32, 32))
    assert relevance.shape == (2, 16, 16)
    even = network(torch.full((1, 3, 64, 64), 0.5))[2][0, 8:-8, 8:-8]
    assert even.std() < 1e-3  # an even image has no place that stands out


def test_members_learn_apart() -> None:
    torch.manual_seed(0)
    heads = Heads(10, 4, 3, 0.5)
    assert heads(torch.rand(6, 10)).shape == (6, 3)
    assert not torch.equal(heads.first[0], heads.first[1])


@pytest.mark.slow
class TestSealedFile:
    @pytest.fixture
    def detector(self, champion_root: Path) -> Detector:
        return Detector(champion_root / "artifacts" / "export" / "detector.onnx", threads=1)

    def test_it_says_where_it_comes_from(self, detector: Detector, champion_root: Path) -> None:
        run = json.loads((champion_root / "artifacts" / "train" / "run.json").read_text())
        said = detector.metadata
        assert (said.line, said.kind, said.mlflow_run_id) == ("widgets", "classification", run["mlflow_run_id"])
        assert said.snapshot.endswith(".dir")
        assert len(said.git_commit) == 40

    def test_grey_and_its_colour_copy_score_alike(self, detector: Detector) -> None:
        grey = codec.decode(picture(1, defective=True))
        assert detector.predict(np.repeat(grey, 3, axis=2)).score == pytest.approx(
            detector.predict(grey).score, abs=1e-5
        )

    def test_bit_depth_does_not_change_the_score(self, detector: Detector) -> None:
        eight = codec.decode(picture(1, defective=True))
        assert detector.predict(eight.astype(np.uint16) * 257).score == detector.predict(eight).score

    def test_one_by_one_and_many_score_alike(self, detector: Detector) -> None:
        parts = [codec.decode(picture(n, defective=n % 2 == 0)) for n in range(9)]
        assert [p.score for p in detector.predict_many(parts)] == [detector.predict(part).score for part in parts]

    def test_any_size_gives_a_verdict_and_regions_inside_the_image(self, detector: Detector) -> None:
        for height, width in ((33, 97), (640, 480), (64, 64)):
            answer = detector.predict(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))
            assert detector.verdict(answer.score) in set(Verdict)
            assert 0 <= answer.heatmap.min() <= answer.heatmap.max() <= 1
            for region in answer.regions:
                assert region.x + region.width <= width
                assert region.y + region.height <= height

    def test_the_heatmap_is_hot_on_the_scratch(self, detector: Detector) -> None:
        hits = 0
        for seed in range(20):
            random = np.random.default_rng([seed, True, False])
            random.standard_normal((64, 64))
            row, column = random.integers(10, 40, 2)
            heat = detector.predict(codec.decode(picture(seed, defective=True))).heatmap
            y, x = np.unravel_index(heat.argmax(), heat.shape)
            scale = 64 / heat.shape[0]
            hits += abs((y + 0.5) * scale - (row + 7)) <= 16 and abs((x + 0.5) * scale - (column + 2.5)) <= 16
        assert hits >= 14

    def test_a_file_that_is_no_detector_is_an_error_that_names_it(self, tmp_path: Path) -> None:
        (tmp_path / "x.onnx").write_bytes(b"rubbish")
        with pytest.raises(BadInput, match=r"x.onnx is no defectloop detector"):
            Detector(tmp_path / "x.onnx")

    def test_an_export_that_disagrees_with_its_network_is_refused(self, champion_root: Path, tmp_path: Path) -> None:
        from models.errors import Refused
        from models.evaluation import agreement
        from models.params import load
        from pipelines import workspace as workspaces
        from pipelines.training import export, learning_data

        place = workspaces.at(champion_root)
        network = export.load_network(place, load(place.root / "params.yaml"), ["scratch"])
        with torch.no_grad():
            network.heads.second_bias += 0.05
        _, held = learning_data.splits(place, place.params())
        sealed = Detector(place.artifacts / "export" / "detector.onnx")
        finish = export.Finish(sealed.metadata.calibrator, np.zeros(1), 1.0, np.zeros(1), np.zeros((1, 1)))
        agreed = agreement.compare(network, sealed, held, finish, 64)
        with pytest.raises(Refused, match=rf"disagrees.*{agreed.worst[0].image[:12]}"):
            agreement.require(agreed, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "weights", "error", "says"),
    [
        ("resnet_of_nobody", "none", BadParams, "timm has no"),
        ("resnet18", "packaged", BadParams, "no packaged weights"),
        ("tf_efficientnet_lite2", "packaged", NotReady, "not installed"),
        ("resnet18", "weights.pth", BadParams, "nor an existing file"),
    ],
)
def test_weights_that_can_not_be_had_are_named(name: str, weights: str, error: type, says: str) -> None:
    from models.training import backbones

    with pytest.raises(error, match=says):
        backbones.build(name, weights, 64, seed=0)


@pytest.mark.slow
def test_a_line_with_several_defect_types_inspects(tmp_path: Path) -> None:
    from pipelines.ingest import ingest
    from pipelines.snapshots import snapshot
    from pipelines.training import export, train
    from tests.conftest import make_workspace, write_parts

    place = make_workspace(tmp_path / "workspace")
    folder = write_parts(tmp_path / "stock", 60)
    (folder / "dent").mkdir()
    for path in sorted((folder / "scratch").iterdir())[::2]:
        path.rename(folder / "dent" / path.name)
    ingest.ingest(place, str(folder))
    snapshot.dataset_versions.add_data(place.root)
    train.main(place)
    export.main(place)
    detector = Detector(place.artifacts / "export" / "detector.onnx")
    answer = detector.predict(codec.decode(picture(0, defective=True)))
    assert set(answer.class_probabilities) == {"dent", "scratch"}


def test_a_defect_whose_type_nobody_named_teaches_no_type() -> None:
    from models.classification.training import type_targets
    from models.dataset.examples import Examples

    n = 4
    examples = Examples(
        images=list("abcd"),
        parts=list("abcd"),
        files=[Path()] * n,
        targets=np.array([0, 1, 1, 1], np.float32),
        types=[(), (0,), (0, 1), ()],
        masks=[None] * n,
        boxes=[np.zeros((0, 5), np.float32)] * n,
        synthetic=np.zeros(n, bool),
        defect_types=("dent", "scratch"),
    )
    said = type_targets(examples)
    assert said is not None
    assert said.tolist() == [[0, 0], [1, 0], [1, 1], [-1, -1]]


def test_heads_of_one_type_have_the_same_random_numbers_as_before(network: Network) -> None:
    torch.manual_seed(0)
    plain = Heads(45, 8, 3, 0.5)
    torch.manual_seed(0)
    typed_too = Heads(45, 8, 3, 0.5, types=2)
    assert torch.equal(plain.first, typed_too.first)
    assert torch.equal(plain.second, typed_too.second)
    assert not any("types" in name for name in plain.state_dict())
    assert typed_too.eval().type_logits(torch.rand(4, 45)).shape == (4, 2)
