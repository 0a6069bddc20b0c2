from __future__ import annotations

import json
import resource
from importlib.metadata import version
from pathlib import Path

import pytest

from flows import cli
from flows.commands.snapshots import by_delivery
from pipelines.workspace import Workspace
from tests.conftest import Command, write_parts


def test_help_answers_before_a_person_notices(interpreted: Command) -> None:
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert interpreted("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    # It takes 0.2 to 0.5 s of the processor, whatever else the machine does. A heavy import alone would cost more.
    assert min(seconds) < 0.9


def test_from_a_folder_of_images_to_a_snapshot(tmp_path: Path, defectloop) -> None:
    place = tmp_path / "line"
    assert defectloop("init", place, "--line", "widgets").returncode == 0
    ingested = defectloop("ingest", write_parts(tmp_path / "stock", 120), "--json", cwd=place)
    assert json.loads(ingested.stdout)["added"] == 120
    assert "120 images checked, 0 quarantined" in defectloop("validate", cwd=place).stdout
    assert "data/widgets/1 (new): 120 images" in defectloop("snapshot", "-w", place).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["ingest", "nowhere"], 2, "nowhere is not a folder"),
        (["validate"], 2, "no images"),
        (["snapshot"], 3, "not been validated"),
        (["inspect", "a.png"], 3, "no champion"),
        (["promote", "1"], 3, "no version 1"),
        (["rollback"], 3, "no champion"),
        (["trace", "p1"], 2, "never inspected"),
        (["review", "--part", "p1"], 2, "needs a reviewer"),
        (["review", "--part", "p1", "--reviewer", "lab"], 2, "needs one answer"),
        (["review", "--close", "1", "--reviewer", "lab"], 2, "no open campaign 1"),
    ],
)
def test_every_error_says_what_is_wrong_and_what_to_do(
    arguments: list[str], code: int, says: str, empty_workspace: Workspace, defectloop
) -> None:
    done = defectloop(*arguments, cwd=empty_workspace.root)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "→" in done.stderr
    assert "Traceback" not in done.stderr


def test_errors_are_json_when_asked(empty_workspace: Workspace, defectloop) -> None:
    error = json.loads(defectloop("validate", "--json", cwd=empty_workspace.root).stdout)
    assert error["error"] == "BadData"
    assert error["next"]


def test_an_unknown_key_in_params_is_named(empty_workspace: Workspace, defectloop) -> None:
    path = empty_workspace.root / "params.yaml"
    path.write_text(path.read_text() + "\ntrane: {epochs: 3}\n")
    done = defectloop("validate", cwd=empty_workspace.root)
    assert done.returncode == 2
    assert "trane" in done.stderr


def test_outside_a_workspace_the_error_says_how_to_make_one(tmp_path: Path, defectloop) -> None:
    done = defectloop("status", cwd=tmp_path)
    assert done.returncode == 3
    assert "defectloop init" in done.stderr


def test_status_of_a_new_line_names_the_first_steps(empty_workspace: Workspace, defectloop) -> None:
    said = defectloop("status", cwd=empty_workspace.root).stdout
    for command in ("defectloop snapshot", "defectloop train", "defectloop replay"):
        assert command in said


def test_init_twice_is_the_same_workspace_and_another_line_is_refused(tmp_path: Path, defectloop) -> None:
    place = tmp_path / "line"
    assert defectloop("init", place, "--line", "widgets").returncode == 0
    assert defectloop("init", place, "--line", "widgets").returncode == 0
    done = defectloop("init", place, "--line", "gadgets")
    assert done.returncode == 2
    assert "already belongs to line widgets" in done.stderr


@pytest.mark.parametrize(
    "words", [("-h",), *((command.__name__, "-h") for panel in cli.PANELS.values() for command in panel)]
)
def test_help_is_short_to_type_and_shows_no_type_for_flags(in_process: Command, words: tuple[str, ...]) -> None:
    shown = in_process(*words)
    assert shown.returncode == 0
    assert "--help" in shown.stdout
    assert "<bool>" not in shown.stdout


def test_the_version_is_printed(in_process: Command) -> None:
    assert in_process("--version").stdout == f"defectloop {version('defectloop')}\n"


def test_the_former_name_of_export_still_works(in_process: Command) -> None:
    assert "coco, yolo" in in_process("handover", "--help").stdout
    assert "handover" not in in_process("--help").stdout


def test_a_long_difference_of_snapshots_is_summed_up_by_delivery() -> None:
    paths = [f"monday/{n}.png" for n in range(30)] + ["tuesday/1.png"]
    assert by_delivery("+", paths, None) == [f"  + {path}" for path in paths]
    assert by_delivery("+", paths, 10) == [
        "  + 30 of monday, for example monday/0.png",
        "  + 1 of tuesday, for example tuesday/1.png",
        "  + --all lists them",
    ]
    assert by_delivery("-", paths[:3], 10) == [f"  - {path}" for path in paths[:3]]
