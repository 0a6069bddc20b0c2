"""The loop's storage on a real S3 server: images, DVC's remote and MLflow's artifacts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models.errors import NotReady, Unreachable
from pipelines import workspace as workspaces
from pipelines.adapters import dataset_versions
from pipelines.image_files.image_store import open_store
from pipelines.snapshots import snapshot
from pipelines.validation import validate
from tests.conftest import stocked_workspace
from tests.pipelines.conftest import free_port


def test_a_local_store_keeps_bytes_under_their_hash(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "images"))
    key = store.put(b"pixels")
    assert store.put(b"pixels") == key
    assert store.get(key) == b"pixels"
    with pytest.raises(NotReady):
        store.get("0" * 64)


@pytest.mark.slow
def test_images_are_kept_on_s3(bucket: str) -> None:
    store = open_store(f"{bucket}/images")
    key = store.put(b"pixels")
    assert store.put(b"pixels") == key
    assert store.exists(key)
    assert not store.exists("0" * 64)
    assert open_store(f"{bucket}/images").get(key) == b"pixels"
    with pytest.raises(NotReady):
        store.get("0" * 64)


@pytest.mark.slow
def test_a_snapshot_comes_back_from_s3(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFECTLOOP_REMOTE", f"{bucket}/dvc")
    place = stocked_workspace(tmp_path)
    validate.validate(place)
    snapshot.snapshot(place)
    kept = place.annotations.read_bytes()
    shutil.rmtree(place.data)
    shutil.rmtree(place.root / ".dvc" / "cache")
    dataset_versions.checkout_data(place.root)
    assert place.annotations.read_bytes() == kept


@pytest.mark.slow
def test_model_artifacts_are_kept_on_s3(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, champion_root: Path
) -> None:
    from pipelines.adapters import model_registry, tracking

    monkeypatch.setenv("DEFECTLOOP_ARTIFACTS", f"{bucket}/mlflow")
    monkeypatch.setenv("DEFECTLOOP_STATE", str(tmp_path / "state"))
    place = workspaces.at(champion_root)
    run = tracking.start_run(place, line="remote", train_key="k", name="n", params={}, tags={})
    made = place.artifacts
    version = model_registry.register(
        place,
        "remote",
        made / "export" / "detector.onnx",
        made / "evaluate" / "reference.parquet",
        run_id=run,
        description="A detector.",
        tags={"snapshot": "data/remote/1"},
        params={"model.kind": "classification"},
        metrics={"test/auroc": 0.9},
        dataset={"name": "data/remote/1", "digest": "0123456789ab"},
    )
    assert not (tmp_path / "state" / "mlartifacts").exists()
    fetched = model_registry.download(place, version)
    assert fetched.read_bytes() == (made / "export" / "detector.onnx").read_bytes()


def test_an_s3_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    with pytest.raises(Unreachable, match="s3://factory"):
        open_store("s3://factory/images").put(b"pixels")
