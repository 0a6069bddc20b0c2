"""What is kept of an evaluation is kept under what it was computed from."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.dataset import annotation_table
from models.errors import NotReady
from models.vocabulary import Split
from pipelines.adapters import dataset_versions, model_registry
from pipelines.ingest import ingest
from pipelines.snapshots import snapshot
from pipelines.training import kept_predictions
from pipelines.validation import validate
from pipelines.workspace import Workspace
from tests.conftest import LINE, write_parts
from tests.pipelines.promotion.test_promote import another_version

pytestmark = pytest.mark.slow


def test_images(place: Workspace) -> set[str]:
    rows = annotation_table.load(place.annotations).to_pylist()
    return {row["image"] for row in rows if row["split"] == Split.TEST}


test_images.__test__ = False  # type: ignore[attr-defined]


def answered(place: Workspace, number: str) -> set[str]:
    version = model_registry.version(place, LINE, number)
    return set(kept_predictions.predictions(place, version)["image"].to_pylist())


def test_an_ingest_without_a_snapshot_changes_no_evaluation_of_the_snapshot(
    own_champion: Workspace, tmp_path: Path
) -> None:
    second = another_version(own_champion)
    of_snapshot = test_images(own_champion)
    ingest.ingest(own_champion, str(write_parts(tmp_path / "more", 40, first=60)), slice="matt")
    assert test_images(own_champion) > of_snapshot
    assert answered(own_champion, second) == of_snapshot
    assert answered(own_champion, "1") == of_snapshot
    with pytest.raises(NotReady):
        dataset_versions.run_stage(own_champion, "evaluate")
    validate.validate(own_champion)
    snapshot.snapshot(own_champion)
    assert answered(own_champion, second) == test_images(own_champion)


def test_what_the_evaluation_stage_answered_is_not_computed_again(
    own_champion: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_predictions.evaluation, "predict", None)
    assert answered(own_champion, "1") == test_images(own_champion)
