"""What inspects is what was approved: a copy that differs from the registered one never gives a verdict."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

from models.detector.runtime import METADATA_KEY, Detector
from models.errors import DefectloopError
from pipelines.adapters import model_registry
from pipelines.adapters.model_registry import ModelVersion
from pipelines.inspection.predict import open_inspector
from pipelines.monitoring.monitor import monitor
from pipelines.workspace import Workspace
from tests.conftest import LINE

pytestmark = pytest.mark.slow


def with_lax_thresholds(path: Path) -> None:
    """The detector at `path`, made to pass everything."""
    model = onnx.load(path)
    entry = next(item for item in model.metadata_props if item.key == METADATA_KEY)
    point = Detector(path).metadata.operating_point
    entry.value = entry.value.replace(f'"pass_below": {point.pass_below!r}', '"pass_below": 0.9999')
    assert "0.9999" in entry.value
    onnx.save(model, path)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def random_bytes(path: Path) -> None:
    path.write_bytes(b"\x8f\x11" * 5000)


def cached_champion(place: Workspace) -> tuple[ModelVersion, Path]:
    version = model_registry.version(place, LINE, "1")
    return version, model_registry.download(place, version)


@pytest.mark.parametrize("alter", [with_lax_thresholds, cut_off, random_bytes, Path.unlink])
def test_an_altered_copy_of_the_champion_is_replaced_by_the_registered_file(alter, own_champion: Workspace) -> None:
    _, cached = cached_champion(own_champion)
    approved = cached.read_bytes()
    alter(cached)
    with open_inspector(own_champion) as inspector:
        assert inspector.detector.path.read_bytes() == approved
        assert inspector.detector.metadata.operating_point.pass_below < 0.9999
    assert not list(cached.parent.parent.glob(".download-*"))


@pytest.mark.parametrize("name", ["model.onnx", "reference.parquet"])
def test_a_registry_whose_file_was_altered_too_is_refused(name: str, own_champion: Workspace) -> None:
    version, cached = cached_champion(own_champion)
    shutil.rmtree(cached.parent)
    stored = next((own_champion.state / "mlartifacts").rglob(name))
    stored.write_bytes(stored.read_bytes() + b"x")
    with pytest.raises(DefectloopError, match=f"registry's {name} has the hash") as caught:
        model_registry.download(own_champion, version)
    assert "rollback" in str(caught.value.next_step)


def test_drift_is_never_measured_against_an_altered_reference(own_champion: Workspace) -> None:
    version, _ = cached_champion(own_champion)
    reference = model_registry.reference(own_champion, version)
    approved = reference.read_bytes()
    random_bytes(reference)
    monitor(own_champion)
    assert reference.read_bytes() == approved


def test_a_version_that_names_no_hash_for_its_reference_still_works(own_champion: Workspace) -> None:
    version, _ = cached_champion(own_champion)
    older = ModelVersion(
        **{**vars(version), "tags": {k: v for k, v in version.tags.items() if k != "reference_sha256"}}
    )
    shutil.rmtree(own_champion.state / "models")
    assert model_registry.reference(own_champion, older).is_file()
