from __future__ import annotations

from pathlib import Path

import pytest

from models import annotation_table
from models.errors import BadData, NotReady
from pipelines import quarantine, snapshot
from pipelines.ingest import ingest
from pipelines.validate import validate
from pipelines.workspace import Workspace
from tests.conftest import picture, write_parts


def damaged(folder: Path) -> Path:
    folder.mkdir()
    (folder / "cut.png").write_bytes(picture(500, defective=False)[:900])
    (folder / "unlabelled.png").write_bytes(picture(501, defective=False))
    (folder / "m.csv").write_text("path,label,slice\ncut.png,good,matt\nunlabelled.png,,matt\n")
    return folder / "m.csv"


def test_bad_images_go_to_quarantine_with_bytes_and_reason(workspace: Workspace, tmp_path: Path) -> None:
    ingest.ingest(workspace, str(damaged(tmp_path / "bad")))
    report = validate(workspace)
    assert report.passed
    reasons = {entry.path: entry.reason for entry in quarantine.entries(workspace)}
    assert "unreadable image" in reasons["m/cut.png"]
    assert "no label" in reasons["m/unlabelled.png"]
    kept = {entry.path: (workspace.quarantine / entry.file).read_bytes() for entry in report.quarantined}
    assert kept["m/cut.png"] == picture(500, defective=False)[:900]
    assert annotation_table.load(workspace.annotations).num_rows == 60


def test_what_was_quarantined_once_is_not_ingested_again(workspace: Workspace, tmp_path: Path) -> None:
    manifest = damaged(tmp_path / "bad")
    ingest.ingest(workspace, str(manifest))
    validate(workspace)
    assert ingest.ingest(workspace, str(manifest)).added == 0


def test_what_was_quarantined_without_a_label_comes_in_with_one(workspace: Workspace, tmp_path: Path) -> None:
    manifest = damaged(tmp_path / "bad")
    ingest.ingest(workspace, str(manifest))
    validate(workspace)
    manifest.write_text("path,label,slice\ncut.png,good,matt\nunlabelled.png,good,matt\n")
    assert ingest.ingest(workspace, str(manifest)).added == 1
    assert [entry.path for entry in quarantine.entries(workspace)] == ["m/cut.png"]
    assert validate(workspace).n_valid == 61


def test_an_empty_dataset_is_an_error_with_the_next_command(empty_workspace: Workspace) -> None:
    with pytest.raises(BadData) as caught:
        validate(empty_workspace)
    assert "no images" in caught.value.message
    assert caught.value.next_step.startswith("defectloop ingest")


def test_one_class_only_is_an_error_that_names_it(empty_workspace: Workspace, tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / "one" / "good" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number, defective=False))
    ingest.ingest(empty_workspace, str(tmp_path / "one"))
    with pytest.raises(BadData, match=r"only one class \(good\)"):
        validate(empty_workspace)


def test_unlabelled_images_are_counted_and_the_first_is_named(empty_workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for number in range(5):
        (tmp_path / "raw" / f"{number}.png").write_bytes(picture(number, defective=False))
    ingest.ingest(empty_workspace, str(tmp_path / "raw"))
    with pytest.raises(BadData, match=r"5 images lack labels \(first: raw/0.png\)"):
        validate(empty_workspace)


def test_an_image_that_was_lost_from_data_is_named(workspace: Workspace) -> None:
    row = annotation_table.load(workspace.annotations).to_pylist()[0]
    (workspace.data / row["file"]).unlink()
    with pytest.raises(BadData, match=row["image"]):
        validate(workspace)


def test_snapshot_refuses_data_that_changed_after_its_validation(workspace: Workspace, tmp_path: Path) -> None:
    validate(workspace)
    ingest.ingest(workspace, str(write_parts(tmp_path / "more", 3, first=200)))
    with pytest.raises(NotReady, match="changed since"):
        snapshot.snapshot(workspace)
