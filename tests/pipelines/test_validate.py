from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import annotation_table, images
from models.errors import BadData, NotReady
from pipelines import quarantine, snapshot
from pipelines.ingest import ingest, released
from pipelines.validate import ValidationReport, validate
from pipelines.workspace import Workspace
from tests.conftest import change_params, picture, write_parts


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


def reasons(report: ValidationReport) -> list[str]:
    return [warned.reason for warned in report.warnings]


def one_more(folder: Path, image: np.ndarray, columns: str = "", values: str = "") -> str:
    """A manifest with one good image of the slice that the stock has."""
    folder.mkdir()
    (folder / "one.png").write_bytes(images.encode_png(image))
    (folder / "one.csv").write_text(f"path,label,slice{columns}\none.png,good,matt{values}\n")
    return str(folder / "one.csv")


BLACK = np.zeros((64, 64), np.uint8)
BLURRED = np.tile(np.linspace(90, 130, 64).astype(np.uint8), (64, 1))
ORDINARY = images.decode(picture(700, defective=False))[..., 0]


@pytest.mark.parametrize(("image", "look"), [(BLACK, "brightness"), (BLURRED, "sharpness")])
def test_an_image_that_looks_unlike_its_slice_is_reported_and_stays(
    workspace: Workspace, tmp_path: Path, image: np.ndarray, look: str
) -> None:
    ingest.ingest(workspace, one_more(tmp_path / "odd", image))
    report = validate(workspace)
    assert any(reason.startswith(f"{look} is not within") for reason in reasons(report))
    assert report.n_valid == 61
    assert any("one/one.png" in warned.examples for warned in report.warnings)


def test_a_rule_of_severity_critical_quarantines_and_one_that_is_off_says_nothing(
    workspace: Workspace, tmp_path: Path
) -> None:
    ingest.ingest(workspace, one_more(tmp_path / "odd", BLACK))
    severity = workspace.params().validate_.severity.model_dump()
    change_params(workspace, {"validate": {"severity": severity | {"looks": "off"}}})
    assert not any("usual in slice" in reason for reason in reasons(validate(workspace)))
    change_params(workspace, {"validate": {"severity": severity | {"looks": "critical"}}})
    assert [entry.path for entry in validate(workspace).quarantined] == ["one/one.png"]


def test_looks_are_learned_from_the_champions_data(own_champion: Workspace, tmp_path: Path) -> None:
    ingest.ingest(own_champion, str(write_parts(tmp_path / "brighter", 60, first=300, bright=True)), slice="matt")
    ingest.ingest(own_champion, str(write_parts(tmp_path / "new", 3, first=500)), slice="polished")
    report = validate(own_champion)
    assert report.looks.origin.startswith("champion version 1, data/")
    assert max(warned.n_images for warned in report.warnings if "brightness" in warned.reason) >= 60
    assert report.looks.without == ("polished",)


def test_labels_of_nobody_from_the_future_or_too_old_are_reported(workspace: Workspace, tmp_path: Path) -> None:
    assert reasons(validate(workspace)) == []
    ingest.ingest(workspace, one_more(tmp_path / "a", ORDINARY, ",labelled_at", ",2999-01-01"))
    assert {"nobody is named who labelled it", "labelled in the future"} <= set(reasons(validate(workspace)))
    change_params(workspace, {"validate": {"label_source": "^lab"}})
    assert "labelled by none of ^lab" in reasons(validate(workspace))


def test_data_whose_newest_label_is_too_old_can_stop_the_flow(empty_workspace: Workspace, tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "old", 30)
    lines = [
        f"{path.relative_to(folder)},{'good' if path.parent.name == 'good' else 'defect'},2020-02-03"
        for path in folder.glob("*/*")
    ]
    (folder / "old.csv").write_text("\n".join(["path,label,labelled_at", *lines]) + "\n")
    ingest.ingest(empty_workspace, str(folder / "old.csv"))
    severity = empty_workspace.params().validate_.severity.model_dump() | {"label_age": "critical"}
    change_params(empty_workspace, {"validate": {"max_label_age_days": 100, "severity": severity}})
    with pytest.raises(BadData, match="no label is younger than 100 days"):
        validate(empty_workspace)


def test_an_expectation_that_can_not_be_checked_stops_whatever_its_severity(workspace: Workspace) -> None:
    change_params(
        workspace, {"validate": {"label_source": "([", "severity": workspace.params().validate_.severity.model_dump()}}
    )
    with pytest.raises(BadData, match="could not be checked"):
        validate(workspace)


def test_data_docs_say_the_rules_in_words(workspace: Workspace) -> None:
    report = validate(workspace)
    assert (workspace.root / report.docs).exists()
    said = (workspace.root / report.docs).read_text()
    assert "unreadable image" in said
    assert "critical" in said
    everything = "".join(path.read_text() for path in (workspace.root / report.docs).parent.rglob("*.html"))
    assert 'src="http' not in everything
    pages = list((workspace.root / report.docs).parent.rglob("*.html"))
    validate(workspace)
    assert len(list((workspace.root / report.docs).parent.rglob("*.html"))) == len(pages)


def test_what_a_named_person_releases_is_not_quarantined_again(workspace: Workspace, tmp_path: Path) -> None:
    ingest.ingest(workspace, one_more(tmp_path / "odd", np.tile(ORDINARY, (1, 200))))
    (entry,) = validate(workspace).quarantined
    assert "width is not within" in entry.reason
    released.release(workspace, [entry], label=None, reviewer=None)
    assert len(validate(workspace).quarantined) == 1
    released.release(workspace, [entry], label=None, reviewer="quality lab")
    assert validate(workspace).quarantined == ()
    row = next(
        row for row in annotation_table.load(workspace.annotations).to_pylist() if row["source_path"] == "one.png"
    )
    assert row["accepted_by"] == "quality lab"


def test_synthetic_parts_do_not_count_as_enough(empty_workspace: Workspace, tmp_path: Path) -> None:
    ingest.ingest(empty_workspace, str(write_parts(tmp_path / "stock", 30)))
    table = annotation_table.load(empty_workspace.annotations)
    made = [
        row | ({"synthetic": True, "split": "train"} if row["label"] == "defect" else {}) for row in table.to_pylist()
    ]
    annotation_table.save(annotation_table.from_rows(made), empty_workspace.annotations)
    with pytest.raises(BadData, match=r"only one class \(good\)"):
        validate(empty_workspace)


def test_the_data_card_names_the_known_issues(workspace: Workspace, tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "again", 3)
    for path in folder.rglob("*.png"):
        path.with_suffix(".bmp").write_bytes(b"")
    ingest.ingest(workspace, str(folder))
    validate(workspace)
    snapshot.snapshot(workspace)
    card = (workspace.root / "data-card.md").read_text()
    assert "## Known issues\n\n- warning: 3 files can't be read" in card
