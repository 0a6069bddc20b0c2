from __future__ import annotations

from pathlib import Path

import pytest

from models import annotation_table
from models.errors import BadData
from pipelines.ingest import ingest
from pipelines.workspace import Workspace
from tests.conftest import picture, write_parts


def test_second_ingest_of_the_same_folder_adds_nothing(workspace: Workspace, tmp_path: Path) -> None:
    before = workspace.annotations.read_bytes()
    report = ingest.ingest(workspace, str(tmp_path / "stock"), slice="matt")
    assert (report.added, report.already_present) == (0, 60)
    assert workspace.annotations.read_bytes() == before


def test_images_keep_their_bytes_under_their_hash(workspace: Workspace, tmp_path: Path) -> None:
    row = annotation_table.load(workspace.annotations).to_pylist()[0]
    assert (workspace.data / row["file"]).read_bytes() == (tmp_path / "stock" / row["source_path"]).read_bytes()
    assert row["image"] in row["file"]


def test_the_same_bytes_under_another_name_go_to_quarantine(workspace: Workspace, tmp_path: Path) -> None:
    again = tmp_path / "again" / "good" / "other.png"
    again.parent.mkdir(parents=True)
    again.write_bytes(picture(1, defective=False))
    report = ingest.ingest(workspace, str(tmp_path / "again"))
    assert report.added == 0
    assert "duplicate" in report.quarantined[0].reason
    assert (workspace.quarantine / report.quarantined[0].file).exists()


def test_a_part_keeps_its_split_when_more_images_of_it_arrive(workspace: Workspace, tmp_path: Path) -> None:
    table = annotation_table.load(workspace.annotations)
    first = table.to_pylist()[0]
    manifest = tmp_path / "more" / "more.csv"
    manifest.parent.mkdir()
    (manifest.parent / "second-view.png").write_bytes(picture(900, defective=False))
    manifest.write_text(f"path,part,label,slice\nsecond-view.png,{first['part']},{first['label']},matt\n")
    ingest.ingest(workspace, str(manifest))
    rows = annotation_table.load(workspace.annotations).to_pylist()
    assert {row["split"] for row in rows if row["part"] == first["part"]} == {first["split"]}


def test_the_test_split_does_not_change_when_the_dataset_grows(workspace: Workspace, tmp_path: Path) -> None:
    def frozen() -> set[str]:
        rows = annotation_table.load(workspace.annotations).to_pylist()
        return {row["part"] for row in rows if row["split"] == "test" and int(row["part"][-4:]) < 60}

    before = frozen()
    ingest.ingest(workspace, str(write_parts(tmp_path / "later", 40, first=100)))
    assert frozen() == before


def test_a_label_that_the_sender_corrects_is_taken_over_and_the_split_stays(
    empty_workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture(1, defective=True))
    manifest = tmp_path / "m.csv"

    def deliver(label: str) -> tuple[ingest.IngestReport, dict]:
        manifest.write_text(f"path,label,labelled_by\na.png,{label},lab\n")
        report = ingest.ingest(empty_workspace, str(manifest))
        return report, annotation_table.load(empty_workspace.annotations).to_pylist()[0]

    _, before = deliver("good")
    report, after = deliver("defect")
    assert (report.added, report.relabelled) == (0, 1)
    assert (after["label"], after["split"]) == ("defect", before["split"])
    silent, kept = deliver("")
    assert (silent.relabelled, silent.already_present) == (0, 1)
    assert kept["label"] == "defect"


def test_a_folder_without_images_is_an_error_that_names_it(empty_workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(BadData, match=r"No images below .*nothing"):
        ingest.ingest(empty_workspace, str(tmp_path / "nothing"))


def test_a_manifest_with_unknown_columns_is_an_error_that_names_them(
    empty_workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text("path,colour\na.png,red\n")
    with pytest.raises(BadData, match="unknown columns colour"):
        ingest.ingest(empty_workspace, str(tmp_path / "m.csv"))


def test_the_solar_cells_give_the_same_table_every_time(empty_workspace: Workspace, tmp_path: Path) -> None:
    from tests.conftest import make_workspace

    other = make_workspace(tmp_path / "other")
    for place in (empty_workspace, other):
        ingest.ingest(place, "elpv", slice="mono")
    assert empty_workspace.annotations.read_bytes() == other.annotations.read_bytes()
