"""Classification that trains its backbone too: from pixels to a sealed file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.classification import training
from models.classification.network import Network, pool
from models.dataset.torch_dataset import ImageDataset
from models.training.context import TrainingContext, silent
from pipelines.adapters import dataset_versions, git
from pipelines.ingest import ingest
from pipelines.training import learning_data
from pipelines.workspace import Workspace
from tests.conftest import change_params, make_workspace, write_parts
from tests.progress import Killed, killed_after_two_epochs

WAYS = ["last", "all"]


def line(root: Path, finetune: str, **train: object) -> Workspace:
    """Parts of two materials: bright ones among dark ones, so that brightness says nothing."""
    place = make_workspace(root / "line")
    change_params(place, {"train": {"epochs": 4, "batch_size": 8, "finetune": finetune, **train}})
    for bright in (False, True):
        folder = write_parts(root / f"bright-{bright}", 36, first=100 * bright, bright=bright)
        ingest.ingest(place, str(folder), slice="gloss" if bright else "matt")
    dataset_versions.add_data(place.root)
    git.commit(place.root, ["data.dvc", "params.yaml"], "Data")
    return place


def trained(place: Workspace, work: Path, progress: Any = silent) -> Network:
    params = place.params()
    learn, check = learning_data.splits(place, params)
    context = TrainingContext(params, work, place.state / "cache" / "features", progress=progress)
    network: Network = training.train(learn, check, context).network
    return network


def statistics(place: Workspace, network: Network) -> torch.Tensor:
    """Standardised, of the training images."""
    learn, _ = learning_data.splits(place, place.params())
    pixels = ImageDataset(learn.files, learn.targets, place.params().model.image_size_px)
    with torch.no_grad():
        return network.heads.standardise(
            pool(network.backbone(torch.stack([pixels[n][0] for n in range(len(pixels))])))
        )


@pytest.mark.slow
@pytest.mark.parametrize("finetune", WAYS)
def test_it_learns_resumes_after_a_kill_and_exports_in_agreement(tmp_path: Path, finetune: str) -> None:
    from pipelines.training import evaluate, export, train

    place = line(tmp_path, finetune)
    with pytest.raises(Killed):
        trained(place, tmp_path / "cut", killed_after_two_epochs)
    assert (tmp_path / "cut" / "resume.ckpt").exists()
    resumed = trained(place, tmp_path / "cut")
    spreads = statistics(place, resumed).std(0)
    assert 0.5 < spreads.median() < 2  # heads are fed what their noise and their first weights are made for
    # The statistics are fixed before the backbone learns; where all of it does, some spread more than at first.
    assert spreads.quantile(0.95) < (4 if finetune == "last" else 8)

    train.main(place)
    kept = torch.load(place.artifacts / "train" / "detector.ckpt", weights_only=True)
    for name, weights in resumed.state_dict().items():
        assert torch.equal(weights, kept[name]), name
    assert not np.allclose(kept["heads.mean"], 0)
    export.main(place)  # refuses a file that disagrees with its network
    evaluate.main(place)
    agreed = json.loads((place.artifacts / "export" / "export.json").read_text())
    assert agreed["max_score_difference"] < 1e-3
    measured = json.loads((place.artifacts / "evaluate" / "evaluation.json").read_text())
    assert measured["overall"]["auroc"] > 0.85
