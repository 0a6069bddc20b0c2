"""`defectloop status` says what holds now, and after a refusal how to go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.adapters import git, tracking
from pipelines.ingest import ingest
from pipelines.inspection.status import status
from pipelines.inspection.status_text import render
from pipelines.ledger import drift_checks, inspections, promotions
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import DriftCheck, Promotion, now
from pipelines.promotion import gate, next_steps
from pipelines.workspace import Workspace
from tests.conftest import LINE, Command, picture, write_parts
from tests.kept.unpacked import unpacked


@pytest.fixture
def line(tmp_path: Path) -> Workspace:
    return unpacked(tmp_path)


def rows(place: Workspace, width: int | None = None) -> dict[str, str]:
    return {row[:12].strip(): row[12:] for row in render(status(place), width).splitlines()}


def refuse(place: Workspace, version: str, reason: str, kind: str = "refuse") -> None:
    with Ledger.open(place.ledger_url) as ledger:
        promotions.add(
            ledger,
            Promotion(
                line=LINE,
                kind=kind,
                version=version,
                champion_before="1",
                reasons=[reason],
                numbers={},
                state="done",
                decided_at=now(),
            ),
        )


def check(version: str, explanation: str) -> DriftCheck:
    return DriftCheck(
        line=LINE,
        slice=None,
        checked_at=now(),
        model_version=version,
        first_inspection=1,
        last_inspection=2,
        n=2,
        n_reference=2,
        judged=True,
        drifted=True,
        share_drifted=1.0,
        columns={},
        top_descriptors=[],
        explanation=explanation,
        report=None,
        event_id=None,
    )


def test_the_drift_of_an_earlier_champion_is_not_that_of_the_present_one(line: Workspace) -> None:
    with Ledger.open(line.ledger_url) as ledger:
        drift_checks.add(ledger, check("7", "everything shifted"))
    assert rows(line)["drift"] == "version 1 was never checked: defectloop monitor"
    with Ledger.open(line.ledger_url) as ledger:
        drift_checks.add(ledger, check("1", "brightness rose"))
        drift_checks.add(ledger, check("7", "later, by another version"))
    assert rows(line)["drift"].startswith("brightness rose (version 1, ")


def test_images_that_are_in_no_snapshot_are_counted(line: Workspace, tmp_path: Path) -> None:
    assert "since then" not in rows(line)["snapshot"]
    ingest.ingest(line, str(write_parts(tmp_path / "more", 4, first=700)), slice="matt")
    assert "since then 4 images added: defectloop validate" in rows(line)["snapshot"]


def test_a_branch_that_waits_is_named_until_it_is_merged(line: Workspace) -> None:
    assert "to merge" not in rows(line)
    git.run(line.root, "checkout", "--quiet", "-b", f"defectloop/{LINE}")
    git.run(line.root, *git.IDENTITY, "commit", "--quiet", "--allow-empty", "-m", "Retrained")
    git.run(line.root, "checkout", "--quiet", "-")
    assert rows(line)["to merge"] == f"defectloop/{LINE} (1 commit): defectloop snapshots merge"
    git.run(line.root, "merge", "--quiet", f"defectloop/{LINE}")
    assert "to merge" not in rows(line)


def test_after_a_refusal_status_and_inspect_say_why_and_how_to_go_on(
    line: Workspace, tmp_path: Path, in_process: Command
) -> None:
    refuse(line, "1", "escape rate 0.400 > 0.250")
    assert "escape rate 0.400 > 0.250" in rows(line)["refused"]
    assert "defectloop inspect --version 1" in rows(line)["refused"]
    tracking.client(line).delete_registered_model_alias(LINE, "champion")
    image = tmp_path / "part.png"
    image.write_bytes(picture(800, defective=True))
    stopped = in_process("inspect", image, "-w", line.root)
    assert stopped.returncode == 3
    assert "version 1 was refused: escape rate 0.400 > 0.250." in stopped.stderr
    assert "defectloop audit" in stopped.stderr
    assert "defectloop inspect --version 1 IMAGE" in stopped.stderr
    assert rows(line)["champion"].startswith("none: the last version was refused")


def test_a_version_that_waits_for_a_person_is_shown_with_how_to_accept_it(line: Workspace) -> None:
    refuse(line, "2", "waits for a person: escapes rise; to accept it: defectloop promote 2 --accept-escapes", "wait")
    assert rows(line)["waits"].endswith("defectloop promote 2 --accept-escapes")
    refuse(line, "3", "now champion", "promote")
    assert not {"waits", "refused"} & rows(line).keys()


def test_a_version_can_be_looked_at_without_a_record(line: Workspace, tmp_path: Path, in_process: Command) -> None:
    image = tmp_path / "part.png"
    image.write_bytes(picture(800, defective=True))
    with Ledger.open(line.ledger_url) as ledger:
        before = len(inspections.latest(ledger, LINE, 1000))
    looked = in_process("inspect", image, tmp_path / "absent.png", "--version", "1", "-w", line.root)
    assert looked.returncode == 2
    answer, missing = map(json.loads, looked.stdout.splitlines())
    assert (answer["model_version"], answer["recorded"]) == ("1", False)
    assert Path(answer["heatmap"]).is_file()
    assert "absent.png" in missing["image"]
    with Ledger.open(line.ledger_url) as ledger:
        assert len(inspections.latest(ledger, LINE, 1000)) == before
    recorded = json.loads(in_process("inspect", image, "-w", line.root).stdout)
    assert (recorded["verdict"], recorded["score"]) == (answer["verdict"], answer["score"])
    assert in_process("inspect", image, "--version", "9", "-w", line.root).returncode == 3
    assert in_process("inspect", image, "--version", "1", "--part", "p", "-w", line.root).returncode == 2


def test_rows_are_wrapped_at_the_terminals_width_and_nothing_is_cut(line: Workspace) -> None:
    refuse(line, "2", "cost on slice matt rises by 0.4 per part, with probability 0.9990; the margin is 0.1")
    wrapped = render(status(line), 60)
    assert max(map(len, wrapped.splitlines())) <= 60
    assert wrapped.split() == render(status(line)).split()


def test_every_reason_of_the_gate_has_a_next_step(line: Workspace) -> None:
    reasons = [
        "AUROC 0.500 < 0.600",
        "cost on slice matt rises by 0.4 per part, with probability 0.9990; the margin is 0.1",
        "not enough evidence: there are no test parts of slice gloss",
        "calibration error 0.3 > 0.15, and chance explains only 0.1",
        "cheaper verdicts than version 1 with probability 0.300 < 0.9",
        "version 2 is withdrawn 2026-01-01 by Ada: misses scratches",
        *gate.not_robust({"10 % darker": {"changed": 1.0, "flipped": 1.0}}, line.params().promote),
    ]
    assert all(next_steps.after([reason]) != [next_steps.OTHERWISE] for reason in reasons)
    assert next_steps.WAITS == gate.WAITS
    assert "accept it" in next_steps.after([f"{gate.WAITS}: escapes rise"])[0]
    assert next_steps.after(["something new"]) == [next_steps.OTHERWISE]
