"""`inspect --url` answers as local inspection does, without a workspace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.test_light_commands import HEAVY, OF_A_WORKSPACE, imported
from tests.pipelines.connectors.stand_in import GOOD, KEY, LINE, SCRATCHED, StandIn, running

ROOT = Path(__file__).parents[2]


@pytest.fixture
def service() -> Iterator[StandIn]:
    with running() as service:
        yield service


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    pictures = {"p7_top.png": GOOD, "p7_left.png": SCRATCHED, "torn.png": b"x"}
    for name, data in pictures.items():
        (tmp_path / name).write_bytes(data)
    return [tmp_path / name for name in pictures]


def run(place: Path, *words: object, key: str | None = KEY) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({"DEFECTLOOP_API_KEY": key} if key else {})
    arguments = [sys.executable, "-m", "flows.cli", "inspect", *map(str, words)]
    return subprocess.run(arguments, cwd=place, env=environment, capture_output=True, text=True)


def test_the_service_answers_in_the_lines_of_local_inspection(
    tmp_path: Path, service: StandIn, images: list[Path]
) -> None:
    done = run(tmp_path, *images[:2], "--url", service.url, "--part", "p7", "--heatmaps", tmp_path / "heat")
    assert done.returncode == 0, done.stderr
    first, second, whole = map(json.loads, done.stdout.splitlines())
    assert list(first) == [
        *(
            "image",
            "part",
            "view",
            "verdict",
            "score",
            "regions",
            "heatmap",
            "model_version",
            "latency_ms",
            "inspection",
        )
    ]
    assert (first["verdict"], second["verdict"], second["score"]) == ("pass", "fail", 0.9877)
    assert Path(first["heatmap"]).read_bytes().startswith(b"\x89PNG")
    assert whole == {
        "part": "p7",
        "verdict": "fail",
        "score": 0.9877,
        "views": 2,
        "unread": 0,
        "inspections": [first["inspection"], second["inspection"]],
    }


def test_an_unreadable_image_is_a_line_and_exit_code_2(tmp_path: Path, service: StandIn, images: list[Path]) -> None:
    done = run(tmp_path, images[0], images[2], images[0], "--url", service.url, "--line", LINE, "--part", "p7")
    assert done.returncode == 2
    passed, torn, _, whole = map(json.loads, done.stdout.splitlines())
    assert (passed["verdict"], passed["heatmap"]) == ("pass", None)
    assert torn["error"]
    assert (whole["verdict"], whole["unread"]) == ("review", 1)


def test_part_and_view_come_from_the_pattern(tmp_path: Path, service: StandIn, images: list[Path]) -> None:
    done = run(tmp_path, images[1], "--url", service.url, "--part-from", r"(?P<part>p\d+)_(?P<view>\w+)\.")
    assert (json.loads(done.stdout)["part"], json.loads(done.stdout)["view"]) == ("p7", "left")


def test_without_a_key_the_exit_code_says_refused(tmp_path: Path, service: StandIn, images: list[Path]) -> None:
    done = run(tmp_path, images[0], "--url", service.url, key=None)
    assert done.returncode == 4
    assert "DEFECTLOOP_API_KEY" in done.stderr


def test_options_that_have_no_effect_are_refused(tmp_path: Path, service: StandIn, images: list[Path]) -> None:
    assert run(tmp_path, images[0], "--url", service.url, "--version", "3").returncode == 2
    assert run(tmp_path, images[0], "--line", LINE).returncode == 2
    assert service.received == []


def test_inspecting_at_an_address_imports_nothing_of_a_workspace(
    service: StandIn, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEFECTLOOP_API_KEY", KEY)
    codes, packages = imported(["inspect", images[0], "--url", service.url, "--line", LINE])
    assert codes == [0]
    assert not packages & ((HEAVY - {"rich"}) | OF_A_WORKSPACE)
