"""`defectloop trace` leads from a part to its pictures, and from a mistyped name to the right one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.ledger import inspections
from pipelines.ledger.ledger import Ledger
from pipelines.workspace import Workspace
from tests.conftest import LINE, Command, picture
from tests.kept.unpacked import unpacked


@pytest.fixture
def line(tmp_path: Path, in_process: Command) -> Workspace:
    place = unpacked(tmp_path)
    image = tmp_path / "cell0815.png"
    image.write_bytes(picture(3, defective=True))
    assert in_process("inspect", image, "--part", "4711-A", "-w", place.root).returncode == 0
    return place


def test_image_regions_and_heatmap_are_named_and_an_absent_heatmap_is_made(
    line: Workspace, in_process: Command
) -> None:
    first = json.loads(in_process("trace", "4711-A", "--json", "-w", line.root).stdout)
    [seen] = first["inspections"]
    assert Path(seen["picture"]["image"]).read_bytes() == picture(3, defective=True)
    heatmap = Path(seen["picture"]["heatmap"])
    before = heatmap.read_bytes()
    heatmap.unlink()
    said = in_process("trace", "cell0815", "-w", line.root).stdout
    assert f"heatmap    {heatmap}\n" in said
    assert f"image      {seen['picture']['image']} (" in said
    assert heatmap.read_bytes() == before
    with Ledger.open(line.ledger_url) as ledger, ledger.writing() as session:
        record = inspections.of_part(ledger, LINE, "4711-A")[0]
        session.merge(record).regions = [
            {"x": 3, "y": 4, "width": 5, "height": 6, "score": 0.5, "defect_type": "scratch"}
        ]
    assert "regions    5×6 px at 3,4, score 0.50 (scratch)" in in_process("trace", "4711-A", "-w", line.root).stdout


def test_a_lost_image_is_said_and_the_trace_goes_on(line: Workspace, in_process: Command) -> None:
    [seen] = json.loads(in_process("trace", "4711-A", "--json", "-w", line.root).stdout)["inspections"]
    Path(seen["picture"]["heatmap"]).unlink()
    Path(seen["picture"]["image"]).unlink()
    said = in_process("trace", "4711-A", "-w", line.root)
    assert said.returncode == 0
    assert "heatmap    none: The image store" in said.stdout


def test_json_has_everything_once(line: Workspace, in_process: Command) -> None:
    text = in_process("trace", "4711-A", "--json", "-w", line.root).stdout
    traced = json.loads(text)
    assert traced["verdict"]["views"] == [traced["inspections"][0]["id"]]
    assert traced["origins"]["1"]["promotion"]["kind"] == "promote"
    assert len(text) < 3000
    assert len(in_process("status", "--json", "-w", line.root).stdout) < 3000


def test_similar_names_are_offered(line: Workspace, in_process: Command) -> None:
    mistyped = in_process("trace", "4711-B", "-w", line.root)
    assert mistyped.returncode == 2
    assert "Did you mean 4711-A" in mistyped.stderr
    assert "cell0815.png" in in_process("trace", "cell0816.png", "-w", line.root).stderr
    assert "Check the serial number" in in_process("trace", "zzz", "-w", line.root).stderr
