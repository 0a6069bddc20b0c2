from __future__ import annotations

from pathlib import Path

import pytest

from models.dataset import annotation_table
from models.errors import BadInput, Refused
from pipelines.image_files import quarantine
from pipelines.ingest import ingest, released
from pipelines.snapshots import history, snapshot
from pipelines.validation.validate import validate
from pipelines.workspace import Workspace
from tests.conftest import picture, write_parts
from tests.pipelines.conftest import copied


@pytest.fixture(scope="module")
def two_snapshots_root(tmp_path_factory: pytest.TempPathFactory, snapped_root: Path) -> Path:
    root = tmp_path_factory.mktemp("two-snapshots")
    workspace = copied(snapped_root, root)
    ingest.ingest(workspace, str(write_parts(root / "more", 2, first=300)))
    rows = annotation_table.load(workspace.annotations).to_pylist()
    rows[0]["label"] = "good" if rows[0]["label"] == "defect" else "defect"
    del rows[1]
    annotation_table.save(annotation_table.from_rows(rows), workspace.annotations)
    validate(workspace)
    snapshot.snapshot(workspace)
    return root


@pytest.fixture
def two_snapshots(tmp_path: Path, two_snapshots_root: Path) -> Workspace:
    return copied(two_snapshots_root, tmp_path)


def test_the_difference_names_what_was_added_removed_and_relabelled(two_snapshots: Workspace) -> None:
    found = history.diff(two_snapshots, "1", "data/widgets/2")
    assert found.added == ("more/good/part0301.png", "more/scratch/part0300.png")
    assert len(found.removed) == 1
    assert [set(change.before) for change in found.relabelled] == [{"label"}]


def test_restore_brings_every_byte_back(two_snapshots: Workspace) -> None:
    later = two_snapshots.annotations.read_bytes()
    history.restore(two_snapshots, "1")
    assert annotation_table.load(two_snapshots.annotations).num_rows == 60
    rows = annotation_table.load(two_snapshots.annotations).to_pylist()
    assert all((two_snapshots.data / row["file"]).exists() for row in rows)
    history.restore(two_snapshots, "2")
    assert two_snapshots.annotations.read_bytes() == later


def test_restore_refuses_to_lose_data_that_is_in_no_snapshot(two_snapshots: Workspace, tmp_path: Path) -> None:
    ingest.ingest(two_snapshots, str(write_parts(tmp_path / "new", 2, first=800)))
    before = two_snapshots.annotations.read_bytes()
    with pytest.raises(Refused, match="no snapshot"):
        history.restore(two_snapshots, "1")
    assert two_snapshots.annotations.read_bytes() == before


def test_an_unknown_snapshot_is_an_error(two_snapshots: Workspace) -> None:
    with pytest.raises(BadInput, match="No snapshots match 9"):
        history.named(two_snapshots, "9")


def test_the_data_card_counts_parts_labels_and_what_was_refused(two_snapshots: Workspace) -> None:
    card = (two_snapshots.root / "data-card.md").read_text()
    assert "61 images of 61 parts" in card
    assert "| folder scratch |" in card
    assert "| matt |" in card


def test_an_entry_that_is_released_with_a_label_is_ground_truth_with_a_name(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.png").write_bytes(picture(700, defective=True))
    ingest.ingest(workspace, str(tmp_path / "raw"))
    validate(workspace)
    entries = quarantine.named(workspace, ["raw/a.png"])
    report = released.release(workspace, entries, label="defect", reviewer="quality lab")
    assert report.added == 1
    assert quarantine.entries(workspace) == []
    row = next(r for r in annotation_table.load(workspace.annotations).to_pylist() if r["source"] == "raw")
    assert (row["label"], row["labelled_by"]) == ("defect", "quality lab")
    assert validate(workspace).n_valid == 61


def test_an_entry_that_is_released_as_it_was_fails_again_and_is_kept_again(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.png").write_bytes(picture(700, defective=True)[:500])
    ingest.ingest(workspace, str(tmp_path / "raw"))
    validate(workspace)
    released.release(workspace, quarantine.named(workspace, ["raw/a.png"]), label=None, reviewer=None)
    validate(workspace)
    assert [entry.path for entry in quarantine.entries(workspace)] == ["raw/a.png"]


def test_releasing_a_duplicate_keeps_it_in_quarantine(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "raw" / "good").mkdir(parents=True)
    (tmp_path / "raw" / "good" / "again.png").write_bytes(picture(1, defective=False))
    ingest.ingest(workspace, str(tmp_path / "raw"))
    entries = quarantine.entries(workspace)
    assert released.release(workspace, entries, label=None, reviewer=None).added == 0
    assert quarantine.entries(workspace) == entries
    assert (workspace.quarantine / entries[0].file).exists()


def test_dropping_an_unknown_entry_is_an_error(workspace: Workspace) -> None:
    with pytest.raises(BadInput, match=r"raw/b\.png is not in quarantine"):
        quarantine.named(workspace, ["raw/b.png"])
