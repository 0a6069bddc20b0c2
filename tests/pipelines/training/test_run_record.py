"""What a data scientist finds in MLflow, on its real SQLite store; nothing is trained."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.params import Params, load
from pipelines import workspace as workspaces
from pipelines.adapters import model_registry, tracking
from pipelines.promotion import promote
from pipelines.training import register, run_record, train
from pipelines.workspace import Workspace
from tests.conftest import LINE
from tests.pipelines.promotion.test_promote import another_version

pytestmark = pytest.mark.slow  # imports MLflow and opens its store

KEPT = sorted((Path(__file__).parents[2] / "kept").glob("*.tar.xz"))[-1]
SNAPSHOT = "data/widgets/1"


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A workspace of an older release in which this one registered a second version and ran it through the gate."""
    folder = tmp_path_factory.mktemp("kept")
    subprocess.run(["tar", "-C", folder, "-xJf", KEPT], check=True)
    place = workspaces.at(folder / "workspace")
    note = place.artifacts / "train" / "run.json"
    trained = json.loads(note.read_text())
    run_id = tracking.start_run(
        place,
        line=LINE,
        train_key="another",
        name=run_record.run_name(train.snapshot_name(place, trained["snapshot"])),
        params=run_record.flat(run_record.learned_with(place.params())),
        tags={},
    )
    note.write_text(json.dumps(trained | {"mlflow_run_id": run_id}))
    tracking.lightning_logger(place, LINE, run_id).log_metrics(
        {"epoch": 3, "val_loss": 0.25, "train_loss": 0.5}, step=40
    )
    number = another_version(place)
    decision = promote.promote(place, number)
    mlflow = tracking.client(place)
    version = model_registry.version(place, LINE, number)
    return SimpleNamespace(
        place=place,
        decision=decision,
        mlflow=mlflow,
        version=version,
        run=mlflow.get_run(run_id),
        model=mlflow.get_logged_model(version.source.removeprefix("models:/")),
    )


def test_metrics_are_grouped_by_split_and_slice(registered: SimpleNamespace) -> None:
    expected = {"test/auroc", "test/matt/auroc", "in_the_data/cost_per_part", "threshold/pass_below", "val/loss"}
    logged = registered.run.data.metrics
    assert expected <= set(logged)
    assert all("/" in name for name in logged)


def test_the_step_of_a_training_metric_is_its_epoch(registered: SimpleNamespace) -> None:
    history = registered.mlflow.get_metric_history(registered.run.info.run_id, "val/loss")
    assert [(point.step, point.value) for point in history] == [(3, 0.25)]
    assert "epoch" not in registered.run.data.metrics


def test_parameters_hold_costs_thresholds_and_gate_rules(registered: SimpleNamespace) -> None:
    params = registered.run.data.params
    assert {"cost.escape", "threshold.fail_from", "promote.min_auroc", "model.backbone", "train.epochs"} <= set(params)
    assert not [name for name in params if name.startswith(("model.anomaly", "model.detection"))]


def test_a_run_is_named_after_its_snapshot_and_says_what_started_it_and_what_the_gate_decided(
    registered: SimpleNamespace,
) -> None:
    assert registered.run.info.run_name == f"{SNAPSHOT}, version 2"
    note = registered.run.data.tags[tracking.DESCRIPTION]
    assert register.BY_HAND in note
    assert "**Version 2:** " + ("promoted" if registered.decision.promote else "refused") in note
    assert registered.decision.reasons[0] in note


def test_tags_hold_version_user_and_commit(registered: SimpleNamespace) -> None:
    tags = registered.run.data.tags
    assert (tags["version"], tags["snapshot"]) == ("2", SNAPSHOT)
    assert tags["git_commit"] == registered.version.tags["git_commit"]
    assert tags["mlflow.user"]


def test_the_logged_model_knows_its_metrics_dataset_version_and_parameters(registered: SimpleNamespace) -> None:
    model = registered.model
    assert json.loads(model.tags[model_registry.REGISTERED_AS]) == [{"name": LINE, "version": "2"}]
    measured = {metric.key: metric for metric in model.metrics}
    assert measured["test/auroc"].dataset_name == SNAPSHOT
    assert measured["test/auroc"].dataset_digest == registered.version.tags["data_hash"]
    assert model.params["cost.escape"] == registered.run.data.params["cost.escape"]


def test_the_logged_model_predicts_its_own_input_example(registered: SimpleNamespace) -> None:
    import mlflow
    from mlflow.models import Model

    fetched = mlflow.artifacts.download_artifacts(registered.version.source, tracking_uri=registered.place.tracking_uri)
    described = Model.load(fetched)
    assert described.signature.inputs.input_names() == ["image"]
    example = described.load_input_example(fetched)
    assert set(mlflow.pyfunc.load_model(fetched).predict(example)) >= {"score", "raw_score"}


def test_curves_verdicts_and_examples_are_images(registered: SimpleNamespace) -> None:
    logged = {
        Path(item.path).name.split("+")[0]
        for item in registered.mlflow.list_artifacts(registered.run.info.run_id, "images")
    }
    assert {"confusion matrix", "ROC curve"} <= logged


def test_registering_again_repeats_nothing(registered: SimpleNamespace) -> None:
    run_id = registered.run.info.run_id
    before = registered.mlflow.list_artifacts(run_id, "images")
    assert register.register(registered.place).version == "2"
    assert len(registered.mlflow.list_artifacts(run_id, "images")) == len(before)
    assert len(registered.mlflow.get_metric_history(run_id, "test/auroc")) == 1
    assert (
        len(
            json.loads(registered.mlflow.get_logged_model(registered.model.model_id).tags[model_registry.REGISTERED_AS])
        )
        == 1
    )


def test_settings_that_changed_after_the_training_are_in_the_description(registered: SimpleNamespace) -> None:
    changed = tracking.log_params(
        registered.place, registered.run.info.run_id, {"cost.escape": "77", "threshold.new": "1"}
    )
    assert changed == {"cost.escape": "77"}
    assert "`cost.escape` 77" in tracking.described({tracking.OTHER_SETTINGS: "`cost.escape` 77", "version": "3"})


def test_a_version_of_an_older_release_is_still_judged_and_linked(registered: SimpleNamespace) -> None:
    first = model_registry.version(registered.place, LINE, "1")
    run = registered.mlflow.get_run(first.mlflow_run_id)
    assert "test_auroc" in run.data.metrics  # its metrics keep their names
    assert set(registered.decision.numbers["versions"]) == {"1", "2"}


@pytest.mark.parametrize(
    ("model", "has", "has_not"),
    [
        ({"kind": "detection"}, {"model.detection.nms_iou", "train.epochs"}, {"model.classification.hidden"}),
        ({"kind": "segmentation"}, {"train.epochs"}, {"model.classification.hidden", "model.anomaly.method"}),
        ({"kind": "anomaly"}, {"model.anomaly.memory_bank_size"}, {"train.epochs", "train.learning_rate"}),
    ],
)
def test_parameters_of_other_kinds_are_left_out(
    model: dict[str, Any], has: set[str], has_not: set[str], empty_params: Params
) -> None:
    params = empty_params.model_copy(update={"model": empty_params.model.model_copy(update=model)})
    logged = run_record.flat(run_record.learned_with(params))
    assert has <= set(logged)
    assert not has_not & set(logged)


@pytest.fixture
def empty_params(empty_workspace: Workspace) -> Params:
    return load(empty_workspace.root / "params.yaml")
