"""Many labels at once: the page and its table, and Label Studio there and back."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest

from models.errors import BadInput
from pipelines import workspace as workspaces
from pipelines.inspection import review_page
from pipelines.inspection.predict import inspect_file, open_inspector, replay_folder
from pipelines.ledger import campaigns, reviews
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Review
from pipelines.review import campaign, label_files, label_studio_tasks, questions
from pipelines.review.questions import Question
from pipelines.workspace import Workspace
from tests.conftest import LINE, Command, picture, write_parts
from tests.kept.unpacked import unpacked

TWO_VIEWS = "SN <4711> & co"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A line with a campaign about every part that was inspected, one of them with two views."""
    root = tmp_path_factory.mktemp("asked")
    place = unpacked(root)
    replay_folder(place, write_parts(root / "shift", 3, first=2000))
    with open_inspector(place) as inspector:
        for view in ("top", "side"):
            file = root / f"{view}.png"
            file.write_bytes(picture(4000, defective=view == "side"))
            inspect_file(inspector, file, part=TWO_VIEWS, slice=None, folder=root, view=view)
    with Ledger.open(place.ledger_url) as ledger:
        campaign.open_campaign(place, ledger, 100)
    return place.root


@pytest.fixture
def line(made: Path, tmp_path: Path) -> Workspace:
    return workspaces.at(shutil.copytree(made, tmp_path / "line", ignore=shutil.ignore_patterns(".dvc", ".git")))


def asked(place: Workspace) -> list[Question]:
    with Ledger.open(place.ledger_url) as ledger:
        return questions.waiting(ledger, LINE)


def answers(place: Workspace) -> dict[str, Review]:
    with Ledger.open(place.ledger_url) as ledger:
        return {review.part: review for review, _ in reviews.latest(ledger, LINE)}


def in_command(place: Workspace) -> tuple[str, str]:
    for name in (".git", ".dvc"):
        (place.root / name).mkdir(exist_ok=True)
    return "-w", str(place.root)


def test_the_page_shows_every_waiting_part_with_its_reason_and_needs_nothing_from_elsewhere(
    line: Workspace, tmp_path: Path
) -> None:
    page = review_page.write(line, tmp_path / "parts.html")
    html = page.path.read_text()
    waiting = asked(line)
    images = sum(len(one.images) for one in waiting)
    assert page.parts == len(waiting) >= 4
    assert html.count("all recent parts are asked about") == len(waiting)
    assert html.count("data:image/jpeg;base64,") == 2 * images
    assert not re.findall(r'(?:src|href)="(?!data:)', html)
    assert "SN &lt;4711&gt; &amp; co" in html
    assert "<4711>" not in html


def test_a_table_answers_a_whole_campaign_and_may_be_read_twice(line: Workspace, in_process: Command) -> None:
    waiting = [one.part for one in asked(line)]
    others = [part for part in waiting if part != TWO_VIEWS]
    table = line.root / "labels.csv"
    rows = [f"{part},good,,,\r\n" for part in others[:-1]]
    rows += [f'{others[-1]},cant-say,,Grace,"wet, dark"\r\n', f"{TWO_VIEWS},defect,side,,\r\n"]
    table.write_text("part,label,views,reviewer,comment\r\n" + "".join(rows), encoding="utf-8-sig")
    first = in_process("review", "--from", table, "--by", "Ada", *in_command(line))
    assert first.returncode == 0, first.stderr
    assert f"{len(waiting)} answers recorded\nCampaign 1 is complete." in first.stdout
    given = answers(line)
    assert given[TWO_VIEWS].label == "defect"
    assert sorted(given[TWO_VIEWS].images.values()) == ["defect", "good"]
    assert (given[others[-1]].reviewer, given[others[-1]].comment) == ("Grace", "wet, dark")
    assert {given[part].reviewer for part in others[:-1]} == {"Ada"}
    again = in_process("review", "--from", table, "--by", "Ada", *in_command(line), "--json")
    assert json.loads(again.stdout) == {"recorded": 0, "known": len(waiting), "ended": []}


def test_an_old_table_read_again_does_not_undo_a_later_correction(line: Workspace, in_process: Command) -> None:
    part = next(one.part for one in asked(line) if one.part != TWO_VIEWS)
    table = line.root / "labels.csv"
    table.write_text(f"part,label,reviewer\n{part},good,Ada\n")
    assert in_process("review", "--from", table, *in_command(line)).returncode == 0
    corrected = in_process("review", "--part", part, "--label", "defect", "--reviewer", "Grace", *in_command(line))
    assert corrected.returncode == 0, corrected.stderr
    again = in_process("review", "--from", table, *in_command(line))
    assert again.returncode == 2
    assert f"line 2: part {part} has a newer answer by Grace" in again.stderr
    assert (answers(line)[part].label, answers(line)[part].reviewer) == ("defect", "Grace")


def test_of_a_table_with_mistakes_nothing_is_recorded_and_every_line_is_named(
    line: Workspace, in_process: Command
) -> None:
    good = next(one.part for one in asked(line) if one.part != TWO_VIEWS)
    table = line.root / "labels.csv"
    table.write_text(
        f"part;label;reviewer\n{good};good;Ada\nnobody;good;Ada\n{good};defect;Ada\n{TWO_VIEWS};defect;Ada\n"
        f"{TWO_VIEWS};maybe;Ada\n{TWO_VIEWS};good;\n"
    )
    done = in_process("review", "--from", table, *in_command(line))
    assert done.returncode == 2
    for words in (
        "5 of 6 answers",
        "line 3: Part nobody was never inspected",
        f"line 4: part {good} has an answer already, line 2",
        f"line 5: Part {TWO_VIEWS} has 2 images",
        "line 6: Unknown label 'maybe'",
        f"line 7: The review of part {TWO_VIEWS} has no reviewer",
    ):
        assert words in done.stderr
    assert answers(line) == {}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"label\ngood\n", "line 1: the column part is missing"),
        (b"part,label,colour\np1,good,red\n", "line 1: unknown column 'colour'"),
        (b"part,label\np1,good,too,many\n", "line 2: 2 columns are expected"),
        (b"part,label\np1,good\n\xff,good\n", "line 3: not UTF-8"),
        (b"[{", "is not valid JSON"),
        (b'[{"id": 7, "data": {"image": "a.png"}}]', "task 7: no part of this line is named"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(content: bytes, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "labels"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=re.escape(expected)):
        label_files.read(file, "Ada")


def test_a_campaign_goes_to_label_studio_and_back(line: Workspace, tmp_path: Path, in_process: Command) -> None:
    project = tmp_path / "project"
    sent = in_process("export", "label-studio", project, "--waiting", *in_command(line))
    assert sent.returncode == 0, sent.stderr
    tasks = json.loads((project / "tasks.json").read_text())
    assert len(tasks) == sum(len(one.images) for one in asked(line))
    assert all((tmp_path / unquote(task["data"]["image"].partition("?d=")[2])).is_file() for task in tasks)
    views = [task for task in tasks if task["data"]["defectloop_part"] == TWO_VIEWS]
    others = [task for task in tasks if task not in views]

    def annotate(task: dict, label: str, **more: object) -> None:
        result = {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [label]}}
        task["annotations"].append({"completed_by": {"email": "ada@plant"}, "result": [result]} | more)

    for task in others[1:]:
        annotate(task, "good")
    annotate(others[0], "defect", was_cancelled=True)
    annotate(views[0], "good")
    exported = project / "export.json"
    exported.write_text(json.dumps(tasks))
    back = in_process("review", "--from", exported, *in_command(line))
    assert back.stdout == f"{len(others) - 1} answers recorded\n"
    assert {review.reviewer for review in answers(line).values()} == {"ada@plant"}
    assert not {TWO_VIEWS, others[0]["data"]["defectloop_part"]} & answers(line).keys()

    annotate(views[1], "defect")
    annotate(others[0], "good")
    exported.write_text(json.dumps(tasks))
    back = in_process("review", "--from", exported, *in_command(line))
    assert "2 answers recorded, " in back.stdout
    assert "Campaign 1 is complete." in back.stdout
    assert answers(line)[TWO_VIEWS].images == {
        views[0]["data"]["defectloop_image"]: "good",
        views[1]["data"]["defectloop_image"]: "defect",
    }
    with Ledger.open(line.ledger_url) as ledger:
        assert not campaigns.is_open(ledger, 1)


def test_label_studios_short_export_is_read_too() -> None:
    data = {"defectloop_part": "p1", "defectloop_image": "aa", "annotator": 3}
    rows = label_files.of_label_studio(json.dumps([{"id": 1, "label": "good", **data}]), Path("min.json"))
    assert [(row.part, row.answer, row.reviewer) for row in rows] == [("p1", "good", "Label Studio user 3")]


def test_a_project_does_not_overwrite_a_folder(tmp_path: Path, line: Workspace) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(BadInput, match="is not empty"):
        label_studio_tasks.export(line, tmp_path / "full")
