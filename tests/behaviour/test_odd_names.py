"""A line, its slices, types and parts may be called what people call them, from `init` to `trace`."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from models import names
from models.errors import BadInput, BadParams
from pipelines.adapters import git, model_registry, tracking
from pipelines.ingest.ingest import ingest
from pipelines.initialise import init
from pipelines.inspection import status, status_text, trace
from pipelines.inspection.predict import inspect_file, open_inspector, replay_folder
from pipelines.retraining import clone
from pipelines.workspace import Workspace
from tests.conftest import SMALL, change_params, make_champion, picture

LINE = "Presse 3: Stahl (gebürstet), 50% A+B & 'C'/D $x$"
SLICES = (f"50% $load$, {'x' * 200}", "研磨 / A+B & 'matt' (#1) ..")
DEFECT = 'Riß <tief>, "Typ" `A`; 1'.replace(";", ":")


def delivery(folder: Path, n: int) -> Path:
    folder.mkdir()
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as sink:
        rows = csv.writer(sink)
        rows.writerow(["path", "label", "defect_types", "part", "slice"])
        for number in range(n):
            defective = number % 3 == 0
            (folder / f"{number}.png").write_bytes(picture(number, defective=defective))
            kind = ("defect", DEFECT) if defective else ("good", "")
            rows.writerow([f"{number}.png", *kind, f"{part_name(number)}", SLICES[number % 2]])
    return folder / "manifest.csv"


def part_name(number: int) -> str:
    return f"../№ {number:03} (A+B) & '50%' {'y' * 220}"


@pytest.mark.slow
def test_odd_names_go_the_whole_way(tmp_path: Path) -> None:
    place = init(tmp_path / "workspace", LINE)
    assert place.params().line == LINE
    change_params(place, SMALL)
    git.commit(place.root, ["params.yaml"], "Small numbers")
    assert ingest(place, str(delivery(tmp_path / "delivery", 72))).added == 72
    make_champion(place)
    champion = model_registry.champion(place, LINE)
    assert champion is not None
    assert champion.line == LINE
    metrics = tracking.client(place).get_run(champion.mlflow_run_id).data.metrics
    assert {f"test/{names.for_mlflow_key(slice)}/f1" for slice in SLICES} <= set(metrics)
    report = (place.artifacts / "evaluate" / "report.html").read_text()
    assert "研磨 / A+B &amp; &#39;matt&#39; (#1) .." in report
    image = tmp_path / f"№ 900 {'z' * 240}.png"
    image.write_bytes(picture(900, defective=True))
    with open_inspector(place) as inspector:
        answer = inspect_file(inspector, image, part=part_name(900), slice=SLICES[1], folder=tmp_path / "heat")
    assert Path(answer["heatmap"]).is_file()
    assert part_name(900) in trace.render(trace.trace(place, part_name(900)))
    assert LINE in status_text.render(status.status(place))
    assert git.current_branch(clone.take_clone(place).root) == f"defectloop/{names.for_tools(LINE)}"


@pytest.mark.parametrize("line", ["", "  ", "a\nb", "x" * 256, "a\x1b[31mb"])
def test_a_line_that_can_have_no_such_name_is_refused_at_once(line: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        init(tmp_path / "workspace", line)
    assert caught.value.next_step
    assert not (tmp_path / "workspace").exists()


def test_params_refuse_such_a_line_too(empty_workspace: Workspace) -> None:
    path = empty_workspace.root / "params.yaml"
    path.write_text(path.read_text().replace("line: widgets", 'line: "a\\nb"'))
    with pytest.raises(BadParams, match=r"line: .*a control character"):
        empty_workspace.params()


@pytest.mark.parametrize("line", ["no", "on", "1e3", "null", "2026-01-01", "a: b", "# a", "\\1", "it's", '"q"'])
def test_a_line_that_yaml_would_take_for_something_else_keeps_its_name(line: str, tmp_path: Path) -> None:
    assert init(tmp_path / "workspace", line).params().line == line


@pytest.mark.slow
def test_replay_and_inspect_take_any_file_name(own_champion: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "night"
    folder.mkdir()
    for number, raw in enumerate((b"caf\xe9.png", b"a\n.png", b"\x1b[31m.png", b"x" * 250 + b".png", b"-v.png")):
        with open(os.fsencode(folder) + b"/" + raw, "wb") as sink:
            sink.write(picture(9000 + number, defective=False))
    (folder / "elsewhere").symlink_to(tmp_path)
    report = replay_folder(own_champion, folder)
    assert (report.inspected, report.rejected, report.linked_folders) == (5, 0, ("elsewhere",))
    with open_inspector(own_champion) as inspector:
        for path in sorted(folder.glob("*.png")):
            answer = inspect_file(inspector, path, part=None, slice=None, folder=tmp_path / "heat")
            assert Path(answer["heatmap"]).is_file()
            json.dumps(answer, ensure_ascii=False).encode()
        with pytest.raises(BadInput, match="control character"):
            inspect_file(inspector, path, part="a\nb", slice=None, folder=tmp_path / "heat")
