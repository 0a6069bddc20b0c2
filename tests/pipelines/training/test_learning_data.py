from __future__ import annotations

import json

import pytest

from models.errors import BadData
from pipelines.training import learning_data
from pipelines.workspace import Workspace
from tests.conftest import change_params


def tiled(workspace: Workspace, kind: str) -> Workspace:
    model = json.loads(workspace.params().model_dump_json(include={"model"}))["model"]
    change_params(workspace, {"model": model | {"kind": kind, "tile_px": 40}})
    return workspace


def test_an_anomaly_line_asks_nobody_where_large_defective_images_are_defective(workspace: Workspace) -> None:
    training, validation = learning_data.splits(tiled(workspace, "anomaly"), workspace.params())
    assert len(training) > 0
    assert not training.targets.any()
    assert validation.targets.any()  # thresholds know them


def test_other_kinds_must_be_told(workspace: Workspace) -> None:
    with pytest.raises(BadData, match=r"defective and larger than model\.tile_px"):
        learning_data.splits(tiled(workspace, "classification"), workspace.params())
