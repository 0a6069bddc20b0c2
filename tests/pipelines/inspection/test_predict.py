from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from models.errors import BadData, BadInput, NotReady
from pipelines import part_names
from pipelines.image_files.image_store import open_store
from pipelines.inspection import predict
from pipelines.inspection.predict import Conflict, Inspected, Production, open_inspector, replay_folder
from pipelines.ledger import inspections
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.part_verdicts import SEVERITY
from pipelines.workspace import Workspace
from tests.conftest import LINE, picture, write_parts

pytestmark = pytest.mark.slow


def item(data: bytes, part: str = "p1", request: str = "r1") -> Production:
    return Production(read=lambda: data, part=part, request_id=request)


def test_a_line_without_a_champion_says_what_to_do(empty_workspace: Workspace) -> None:
    with pytest.raises(NotReady, match="no champion") as caught, open_inspector(empty_workspace):
        pass
    assert caught.value.next_step == "Train one: defectloop train"


def test_an_inspection_is_in_the_ledger_with_its_image_when_the_answer_comes(own_champion: Workspace) -> None:
    data = picture(7000, defective=True)
    with open_inspector(own_champion) as inspector:
        answer = inspector.inspect(item(data), "test").record
    with Ledger.open(own_champion.ledger_url) as ledger:
        kept = inspections.of_part(ledger, LINE, "p1")[0]
    assert (kept.id, kept.verdict, kept.model_version) == (answer.id, answer.verdict, "1")
    assert open_store(own_champion.store_url).get(kept.image) == data
    assert {"brightness", "score", "projection_0"} <= set(kept.descriptors)
    with open_inspector(own_champion) as inspector:
        point = inspector.detector.metadata.operating_point
    assert (kept.pass_below, kept.fail_from) == (point.pass_below, point.fail_from)
    assert set(kept.class_probabilities) == set(inspector.detector.metadata.classes)


def test_no_answer_leaves_when_the_ledger_does_not_take_it(
    own_champion: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(predict.inspections, "add_once", full)
    with open_inspector(own_champion) as inspector, pytest.raises(OSError, match="no space"):
        inspector.inspect(item(picture(1, defective=False)), "test")


def test_an_unreadable_image_is_kept_with_its_reason(own_champion: Workspace) -> None:
    rubbish = picture(1, defective=False)[:300]
    with open_inspector(own_champion) as inspector, pytest.raises(BadInput, match="part-9"):
        inspector.inspect(item(rubbish, part="part-9"), "test")
    with Ledger.open(own_champion.ledger_url) as ledger:
        assert set(inspections.requested(ledger, LINE, ["r1"])) == {"r1"}


def test_a_replay_done_twice_adds_nothing(own_champion: Workspace, tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "night", 70, first=5000)
    (folder / "good" / "broken.png").write_bytes(b"not an image")
    first, second = replay_folder(own_champion, folder), replay_folder(own_champion, folder)
    assert (first.inspected, first.rejected, first.already_known) == (70, 1, 0)
    assert (second.inspected, second.rejected, second.already_known) == (0, 0, 71)


def test_two_inspections_of_one_request_at_once_are_one(own_champion: Workspace) -> None:
    data = picture(7100, defective=False)
    with open_inspector(own_champion) as inspector:
        pair = [item(data, part=f"p{n}", request=f"same-{n}") for n in range(3)]
        inspector.inspect_many(pair[:1], "one process")
        judged = inspector.inspect_many(pair, "another")
    assert [(entry.record.part, entry.repeated) for entry in judged if isinstance(entry, Inspected)] == [
        ("p0", True),
        ("p1", False),
        ("p2", False),
    ]
    with Ledger.open(own_champion.ledger_url) as ledger:
        assert sum(inspections.count_parts(ledger, LINE).values()) == 3


def test_defects_score_higher_than_good_parts(own_champion: Workspace) -> None:
    with open_inspector(own_champion) as inspector:
        scores = {
            defective: [
                inspector.inspect(item(picture(n, defective=defective), request=f"{defective}{n}"), "t").record.score
                for n in range(8000, 8010)
            ]
            for defective in (True, False)
        }
    assert min(scores[True]) > max(scores[False])


def test_the_command_prints_one_json_line_per_image_and_writes_the_heatmap(
    own_champion: Workspace, tmp_path: Path, defectloop
) -> None:
    good, bad = tmp_path / "a.png", tmp_path / "b.png"
    good.write_bytes(picture(9000, defective=True))
    bad.write_bytes(b"rubbish")
    done = defectloop("inspect", good, bad, "--workspace", own_champion.root, "--heatmaps", tmp_path / "heat")
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert done.returncode == 2
    assert first["verdict"] == "fail"
    assert first["regions"]
    assert Path(first["heatmap"]).read_bytes().startswith(b"\x89PNG")
    assert "b" in second["error"]


def shift(folder: Path, first: int) -> Path:
    """Four images under the names that every shift gives them."""
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / f"{number:03d}.png").write_bytes(picture(first + number, defective=False))
    return folder


def test_other_images_under_yesterday_s_names_are_inspected(own_champion: Workspace, tmp_path: Path) -> None:
    folder = shift(tmp_path / "shift", 6000)
    assert replay_folder(own_champion, folder).inspected == 4
    folder.rename(tmp_path / "monday")
    assert replay_folder(own_champion, shift(tmp_path / "shift", 6100)).inspected == 4
    moved = replay_folder(own_champion, tmp_path / "monday")  # the same images from another place are the same requests
    assert (moved.inspected, moved.already_known) == (0, 4)
    with Ledger.open(own_champion.ledger_url) as ledger:
        assert sum(inspections.count_parts(ledger, LINE).values()) == 8


def test_equal_bytes_are_one_request_unless_they_are_said_to_show_different_parts(
    own_champion: Workspace, tmp_path: Path
) -> None:
    folder = shift(tmp_path / "shift", 6200)
    (folder / "copy-7.png").write_bytes((folder / "000.png").read_bytes())
    report = replay_folder(own_champion, folder)
    assert (report.inspected, report.copies, report.already_known) == (4, 1, 0)
    parted = replay_folder(own_champion, folder, part_from=r"copy-(\d)|00(\d)")
    # A camera that is stuck shows two parts the same picture: each of them needs a verdict of its own.
    assert (parted.inspected, parted.already_known) == (1, 4)


def test_a_repeated_request_is_answered_with_the_inspection_that_is_there(own_champion: Workspace) -> None:
    good, other = picture(7200, defective=False), picture(7201, defective=True)
    with open_inspector(own_champion) as inspector:
        first = inspector.inspect(item(good, request="press-1"), "test")
        again = inspector.inspect(item(good, request="press-1"), "test")
        assert (again.record.id, again.repeated, first.repeated) == (first.record.id, True, False)
        with pytest.raises(BadInput, match=r"press-1 was for another image"):
            inspector.inspect(item(other, request="press-1"), "test")
        with pytest.raises(BadInput, match=r"press-1 was for part p1, not for part p2"):
            inspector.inspect(item(good, part="p2", request="press-1"), "test")
        answers = inspector.inspect_many([item(other, request="press-1"), item(other, request="press-2")], "test")
        assert isinstance(answers[0], Conflict)
        assert isinstance(answers[1], Inspected)
        for _ in range(2):
            with pytest.raises(BadInput, match="Part p1"):
                inspector.inspect(item(good[:200], request="press-3"), "test")
    with Ledger.open(own_champion.ledger_url) as ledger:
        assert len(inspections.of_part(ledger, LINE, "p1")) == 2


def test_production_and_dataset_agree_about_the_part(own_champion: Workspace, tmp_path: Path) -> None:
    from models.dataset import annotation_table
    from pipelines.ingest import ingest

    bare, named = tmp_path / "bare", tmp_path / "named"
    write_parts(bare, 3, first=6300)
    write_parts(named, 3, first=6400)
    ingest.ingest(own_champion, str(bare))
    ingest.ingest(own_champion, str(named), part_from=r"(part\d+)")
    replay_folder(own_champion, bare / "good")
    replay_folder(own_champion, named / "good", part_from=r"(part\d+)")
    held = {row["image"]: row["part"] for row in annotation_table.load(own_champion.annotations).to_pylist()}
    with Ledger.open(own_champion.ledger_url) as ledger:
        seen = inspections.latest(ledger, LINE, 4)
    assert [item.part for item in seen] == [held[item.image] for item in seen]
    assert [part_names.is_stated(item.part) for item in seen] == [False, False, True, True]


def test_several_images_of_one_part_give_one_verdict(own_champion: Workspace, tmp_path: Path, defectloop) -> None:
    def inspect(*arguments: object) -> tuple[list[str], dict]:
        """The verdicts on the images, and the last line: the part's."""
        done = defectloop("inspect", *arguments, "--workspace", own_champion.root)
        *images_, whole = [json.loads(line) for line in done.stdout.splitlines()]
        return [line["verdict"] for line in images_ if "error" not in line], whole

    def worst(verdicts: list[str]) -> str:
        return max(verdicts, key=SEVERITY.__getitem__)

    top, side, cut = tmp_path / "top.png", tmp_path / "side.png", tmp_path / "cut.png"
    top.write_bytes(picture(9100, defective=False))
    side.write_bytes(picture(9000, defective=True))
    cut.write_bytes(picture(9102, defective=False)[:500])
    views = ("--part", "4711", "--view", "top", "--view", "side")
    verdicts, whole = inspect(top, side, *views)
    assert verdicts[1] == whole["verdict"] == "fail"
    assert (whole["part"], whole["views"]) == ("4711", 2)
    with Ledger.open(own_champion.ledger_url) as ledger:
        assert inspections.part_verdicts(ledger, LINE) == {"4711": "fail"}
    side.write_bytes(picture(9103, defective=False))  # cleaned and photographed again: the latest of each view counts
    verdicts, whole = inspect(top, side, *views)
    assert whole["verdict"] == worst(verdicts)
    assert whole["views"] == 2
    verdicts, unread = inspect(top, side, cut, "--part", "4712")
    assert unread["verdict"] == worst([*verdicts, "review"])
    assert unread["unread"] == 1
    said = defectloop("status", "--workspace", own_champion.root, "--json").stdout
    assert sum(json.loads(said)["inspected_parts"].values()) == 2
    traced = defectloop("trace", "4711", "--workspace", own_champion.root).stdout
    assert f"Part 4711  {whole['verdict'].upper()} from 2 views" in traced


def test_a_part_is_found_by_the_name_of_its_file_where_that_is_one_part_s(
    own_champion: Workspace, tmp_path: Path, defectloop
) -> None:
    replay_folder(own_champion, shift(tmp_path / "monday", 6500))
    found = defectloop("trace", "001.png", "--workspace", own_champion.root)
    assert "Part image-" in found.stdout
    assert "001.png" in found.stdout
    replay_folder(own_champion, shift(tmp_path / "tuesday", 6600))
    ambiguous = defectloop("trace", "001.png", "--workspace", own_champion.root)
    assert ambiguous.returncode == 2
    assert "file name of 2 parts: image-" in ambiguous.stderr


def test_a_pipe_is_refused_at_once(own_champion: Workspace, tmp_path: Path, defectloop) -> None:
    folder = shift(tmp_path / "shift", 6700)
    os.mkfifo(folder / "pipe.png")
    done = defectloop("inspect", folder / "pipe.png", "--workspace", own_champion.root)
    assert done.returncode == 2
    assert "is a pipe or a device" in json.loads(done.stdout)["error"]
    with pytest.raises(BadData, match=r"1 of 5 files .* are pipes, devices or broken links.*pipe\.png"):
        replay_folder(own_champion, folder)
    assert defectloop("replay", folder / "pipe.png", "--workspace", own_champion.root).returncode == 2
