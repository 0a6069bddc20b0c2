from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from models.dataset import annotation_table
from models.errors import BadData, BadInput, NotReady
from models.images import codec
from models.images.typical_range import RANGED
from pipelines.adapters import model_registry, tracking
from pipelines.image_files import quarantine
from pipelines.ingest import ingest, released
from pipelines.snapshots import snapshot
from pipelines.validation.validate import ValidationReport, last_report, validate
from pipelines.workspace import Workspace
from tests.conftest import change_params, picture, write_parts
from tests.pipelines.conftest import copied


def damaged(folder: Path) -> Path:
    folder.mkdir()
    (folder / "cut.png").write_bytes(picture(500, defective=False)[:900])
    (folder / "unlabelled.png").write_bytes(picture(501, defective=False))
    (folder / "m.csv").write_text("path,label,slice\ncut.png,good,matt\nunlabelled.png,,matt\n")
    return folder / "m.csv"


@pytest.fixture(scope="module")
def refused_root(tmp_path_factory: pytest.TempPathFactory, stocked_root: Path) -> Path:
    root = tmp_path_factory.mktemp("refused")
    place = copied(stocked_root, root)
    ingest.ingest(place, str(damaged(root / "bad")))
    validate(place)
    return root


@pytest.fixture
def refused(tmp_path: Path, refused_root: Path) -> Workspace:
    """60 labelled parts, and in quarantine the two images of `damaged`, whose delivery lies beside it."""
    return copied(refused_root, tmp_path)


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


def test_what_was_quarantined_once_is_not_ingested_again(refused: Workspace, tmp_path: Path) -> None:
    assert len(quarantine.entries(refused)) == 2
    assert ingest.ingest(refused, str(tmp_path / "bad" / "m.csv")).added == 0


def test_what_was_quarantined_without_a_label_comes_in_with_one(refused: Workspace, tmp_path: Path) -> None:
    manifest = tmp_path / "bad" / "m.csv"
    manifest.write_text("path,label,slice\ncut.png,good,matt\nunlabelled.png,good,matt\n")
    assert ingest.ingest(refused, str(manifest)).added == 1
    assert [entry.path for entry in quarantine.entries(refused)] == ["m/cut.png"]
    assert validate(refused).n_valid == 61


def test_two_broken_images_of_one_name_are_both_kept_and_so_they_are_when_an_intact_one_comes(
    workspace: Workspace, tmp_path: Path
) -> None:
    for number, cut in ((4, 900), (5, 800), (6, None)):
        folder = tmp_path / f"day{number}" / "photos"
        (folder / "good").mkdir(parents=True)
        (folder / "good" / "001.png").write_bytes(picture(600 + number, defective=False)[:cut])
        ingest.ingest(workspace, str(folder))
        validate(workspace)
    kept = [entry for entry in quarantine.entries(workspace) if entry.path == "photos/good/001.png"]
    assert {(workspace.quarantine / entry.file).read_bytes() for entry in kept} == {
        picture(604, defective=False)[:900],
        picture(605, defective=False)[:800],
    }
    assert len(quarantine.named(workspace, ["photos/good/001.png"])) == 2
    assert ingest.ingest(workspace, str(tmp_path / "day4" / "photos")).added == 0


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
    with pytest.raises(BadData, match=r"no defect parts among"):
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


def test_snapshot_refuses_data_that_changed_after_its_validation(validated: Workspace, tmp_path: Path) -> None:
    ingest.ingest(validated, str(write_parts(tmp_path / "more", 3, first=200)))
    with pytest.raises(NotReady, match="changed since"):
        snapshot.snapshot(validated)


def reasons(report: ValidationReport) -> list[str]:
    return [warned.reason for warned in report.warnings]


def one_more(folder: Path, image: np.ndarray, columns: str = "", values: str = "") -> str:
    """A manifest with one good image of the slice that the stock has."""
    folder.mkdir()
    (folder / "one.png").write_bytes(codec.encode_png(image))
    (folder / "one.csv").write_text(f"path,label,slice{columns}\none.png,good,matt{values}\n")
    return str(folder / "one.csv")


BLACK = np.zeros((64, 64), np.uint8)
BLURRED = np.tile(np.linspace(90, 130, 64).astype(np.uint8), (64, 1))
ORDINARY = codec.decode(picture(700, defective=False))[..., 0]


def test_calibration_on_few_parts_is_a_warning_however_many_images_show_them(
    validated: Workspace, tmp_path: Path
) -> None:
    said = (last_report(validated) or {})["warnings"]
    few = [one["reason"] for one in said if one["reason"].startswith("calibration uses only")]
    assert len(few) == 2  # 60 parts: neither class has 30 of them to validate
    again = tmp_path / "again"
    for name in ("good", "scratch"):
        (again / name).mkdir(parents=True)
    table = annotation_table.load(validated.annotations)
    row = next(row for row in table.to_pylist() if row["split"] == "validation" and row["label"] == "good")
    lines = ["path,part,label,slice"]
    for number in range(40):
        (again / f"{number}.png").write_bytes(picture(4000 + number, defective=False))
        lines.append(f"{number}.png,{row['part']},good,matt")
    (again / "views.csv").write_text("\n".join(lines))
    ingest.ingest(validated, str(again / "views.csv"))
    more = next(reason for reason in reasons(validate(validated)) if "good validation parts" in reason)
    assert more.split(" (")[0] in few[1].split(" (")[0]  # as many parts as before
    assert int(more.split("(")[1].split(" images")[0]) > 40

    severity = validated.params().validate_.severity.model_dump()
    change_params(validated, {"validate": {"severity": severity | {"parts_per_class": "off"}}})
    assert not any(reason.startswith("calibration") for reason in reasons(validate(validated)))


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
    change_params(workspace, {"validate": {"severity": severity | {"typical_range": "off"}}})
    assert not any("typical of slice" in reason for reason in reasons(validate(workspace)))
    change_params(workspace, {"validate": {"severity": severity | {"typical_range": "critical"}}})
    assert [entry.path for entry in validate(workspace).quarantined] == ["one/one.png"]


def test_looks_are_learned_from_the_champions_data(own_champion: Workspace, tmp_path: Path) -> None:
    ingest.ingest(own_champion, str(write_parts(tmp_path / "brighter", 60, first=300, bright=True)), slice="matt")
    ingest.ingest(own_champion, str(write_parts(tmp_path / "new", 3, first=500)), slice="polished")
    report = validate(own_champion)
    assert report.typical.origin.startswith("champion version 1, data/")
    assert max(warned.n_images for warned in report.warnings if "brightness" in warned.reason) >= 60
    assert report.typical.without == ("polished",)


def test_data_without_a_young_label_can_stop_the_flow_and_a_date_from_the_future_is_none(
    workspace: Workspace, tmp_path: Path
) -> None:
    ingest.ingest(workspace, one_more(tmp_path / "a", ORDINARY, ",labelled_at", ",2020-02-03"))
    severity = workspace.params().validate_.severity.model_dump() | {"label_age": "critical"}
    change_params(workspace, {"validate": {"max_label_age_days": 100, "severity": severity}})
    with pytest.raises(BadData, match="the newest label is more than 100 days old") as caught:
        validate(workspace)
    assert "max_label_age_days" in caught.value.next_step
    ingest.ingest(workspace, one_more(tmp_path / "b", ORDINARY + 1, ",labelled_at", ",2999-01-01"))
    with pytest.raises(BadData, match="the newest label is more than 100 days old"):
        validate(workspace)
    assert [entry.reason for entry in quarantine.entries(workspace)] == ["label is dated in the future (2999-01-01)"]


def test_a_contract_that_can_not_be_checked_stops_moves_nothing_and_takes_an_earlier_pass_back(
    validated: Workspace, tmp_path: Path
) -> None:
    ingest.ingest(validated, str(damaged(tmp_path / "bad")))
    change_params(validated, {"validate": {"label_source": "(["}})
    with pytest.raises(BadData, match="could not be checked"):
        validate(validated)
    assert quarantine.entries(validated) == []
    assert annotation_table.load(validated.annotations).num_rows == 62
    report = last_report(validated) or {}
    assert not report["passed"]
    assert "could not be checked" in (validated.root / report["docs"]).read_text()
    with pytest.raises(NotReady):
        snapshot.snapshot(validated)


def test_data_docs_say_the_rules_in_words_and_fetch_nothing_from_elsewhere(validated: Workspace) -> None:
    first = validated.root / (last_report(validated) or {})["docs"]
    said = first.read_text()
    for words in ("every image can be decoded", "Critical", "60 images checked, 0 quarantined", "matt"):
        assert words in said
    pages = list(first.parent.rglob("*.html"))
    assert any("Critical: every image can be decoded" in page.read_text() for page in pages)
    for page in pages:
        assert not re.search(r"""(src|href)=["']https?:|url\(['"]?https?:|<script""", page.read_text()), page.name
        for link in re.findall(r'href="([^"#]+)"', page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
    validate(validated)
    assert len(list(first.parent.rglob("*.html"))) == len(pages)
    assert sum(path.stat().st_size for path in first.parent.rglob("*") if path.is_file()) < 500_000


def test_data_docs_are_kept_with_the_run_that_learned_from_the_data(champion_workspace: Workspace) -> None:
    champion = model_registry.champion(champion_workspace, champion_workspace.params().line)
    assert champion is not None
    kept = tracking.client(champion_workspace).list_artifacts(champion.mlflow_run_id, "data_docs")
    assert "data_docs/index.html" in {entry.path for entry in kept}


def test_an_image_that_was_never_measured_is_counted_not_judged(workspace: Workspace) -> None:
    table = annotation_table.load(workspace.annotations)
    old = [row | dict.fromkeys(RANGED) for row in table.to_pylist()]
    annotation_table.save(annotation_table.from_rows(old), workspace.annotations)
    typical = validate(workspace).typical
    assert (typical.unmeasured, typical.without, typical.ranges) == (60, ("matt",), {})


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
    assert datetime.fromisoformat(row["accepted_at"]).tzinfo is not None
    assert validate(workspace).n_accepted == 1


def test_nobody_can_stand_behind_what_can_not_be_read_or_is_nothing(refused: Workspace) -> None:
    cut, unlabelled = quarantine.named(refused, ["m/cut.png", "m/unlabelled.png"])
    with pytest.raises(BadInput, match="cannot be decoded"):
        released.release(refused, [cut], label="good", reviewer="quality lab")
    with pytest.raises(BadInput, match="has no label"):
        released.release(refused, [unlabelled], label=None, reviewer="quality lab")
    assert len(quarantine.entries(refused)) == 2


def test_entries_are_grouped_and_chosen_by_reason(workspace: Workspace, tmp_path: Path) -> None:
    ingest.ingest(workspace, str(damaged(tmp_path / "bad")))
    ingest.ingest(workspace, one_more(tmp_path / "wide", np.tile(ORDINARY, (1, 200))))
    ingest.ingest(workspace, one_more(tmp_path / "wider", np.tile(ORDINARY, (1, 220))))
    validate(workspace)
    groups = quarantine.by_reason(quarantine.entries(workspace))
    assert {why: len(members) for why, members in groups.items()} == {
        "width is not within 16…8192 px": 2,
        "no label": 1,
        "unreadable image": 1,
    }
    assert [entry.path for entry in quarantine.named(workspace, [], "NO LABEL")] == ["m/unlabelled.png"]
    assert [entry.path for entry in quarantine.named(workspace, ["m/cut.png"], "unreadable")] == ["m/cut.png"]
    for paths, reason in ((["m/cut.png"], "no label"), ([], "another"), ([], None)):
        with pytest.raises(BadInput):
            quarantine.named(workspace, paths, reason)


def test_bytes_that_a_killed_drop_left_in_quarantine_go_with_the_next_command(workspace: Workspace) -> None:
    row = {"source": "m", "source_path": "a.png", "image": "0" * 64}
    entry = quarantine.put(workspace, row, "no label", b"1")
    (workspace.quarantine / "notes-of-mine.txt").write_text("kept")
    (workspace.quarantine / f"{entry.file}.json").unlink()
    with pytest.raises(BadInput, match="is not in quarantine"):
        quarantine.named(workspace, [entry.path])
    assert [path.name for path in workspace.quarantine.iterdir()] == ["notes-of-mine.txt"]


def test_synthetic_parts_do_not_count_as_enough(empty_workspace: Workspace, tmp_path: Path) -> None:
    ingest.ingest(empty_workspace, str(write_parts(tmp_path / "stock", 30)))
    table = annotation_table.load(empty_workspace.annotations)
    made = [
        row | ({"synthetic": True, "split": "train"} if row["label"] == "defect" else {}) for row in table.to_pylist()
    ]
    annotation_table.save(annotation_table.from_rows(made), empty_workspace.annotations)
    with pytest.raises(BadData, match=r"no defect parts among"):
        validate(empty_workspace)


def test_the_data_card_names_the_known_issues(workspace: Workspace, tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "again", 3)
    for path in folder.rglob("*.png"):
        path.with_suffix(".bmp").write_bytes(b"")
    ingest.ingest(workspace, str(folder))
    validate(workspace)
    snapshot.snapshot(workspace)
    card = (workspace.root / "data-card.md").read_text()
    assert "## Known issues\n\n- warning: 3 files cannot be read" in card
