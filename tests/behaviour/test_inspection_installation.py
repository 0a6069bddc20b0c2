"""An installation without extras inspects, and says what other commands lack."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipelines.client import Client
from tests.docs import licences
from tests.kept.unpacked import unpacked

# Only the packages of the installation for inspection can be imported, as if no others were installed.
COMMAND = """
import sys
from importlib import metadata
from packaging.utils import canonicalize_name

class OnlyThese:
    def __init__(self, distributions):
        self.hidden = {
            module
            for module, owners in metadata.packages_distributions().items()
            if not {canonicalize_name(owner) for owner in owners} & distributions
        }

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, OnlyThese(set(sys.argv.pop(1).split(",")) | {"defectloop", "setuptools", "pip"}))
from flows.cli import main
main()
"""


def program(*words: object) -> list[str]:
    names = ",".join(next(iter(licences.installations().values())))
    return [sys.executable, "-c", COMMAND, names, *map(str, words)]


def run(workspace: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(program(*words), cwd=workspace, capture_output=True, text=True)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return unpacked(tmp_path).root


def test_the_champion_inspects_without_the_packages_of_the_loop(workspace: Path) -> None:
    image = next((workspace / "data").rglob("*.png"))
    answered = run(workspace, "inspect", image)
    assert answered.returncode == 0, answered.stderr
    assert json.loads(answered.stdout)["model_version"] == "1"


def test_the_service_runs_without_the_packages_of_the_loop_in_at_most_400_mb(workspace: Path) -> None:
    image = next((workspace / "data").rglob("*.png")).read_bytes()
    words = program("serve", "--port", 0, "--json")
    with subprocess.Popen(
        words, cwd=workspace, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as service:
        try:
            assert service.stdout is not None
            said = json.loads(service.stdout.readline())
            with Client(said["url"], said["admin_key"]) as client:
                answers = [client.inspect("widgets", image, part=f"B-{number}") for number in range(20)]
            family = [psutil.Process(service.pid), *psutil.Process(service.pid).children(recursive=True)]
            megabytes = sum(member.memory_info().rss for member in family) / 1e6
        finally:
            service.terminate()
    assert {answer["model_version"] for answer in answers} == {"1"}
    assert megabytes < 400


@pytest.mark.parametrize("command", ["train", "validate"])
def test_a_command_of_the_loop_says_what_to_install(workspace: Path, command: str) -> None:
    answered = run(workspace, command)
    assert answered.returncode == 3
    assert "pip install 'defectloop[loop]'" in answered.stderr
    assert "Traceback" not in answered.stderr


def test_connectors_say_what_to_install(workspace: Path) -> None:
    (workspace / "service.yaml").write_text("connectors: {folders: {one: {path: data}}}\n")
    answered = run(workspace, "connect")
    assert answered.returncode == 3
    assert "pip install 'defectloop[connectors]'" in answered.stderr
    assert "Traceback" not in answered.stderr


def test_a_station_exports_verifies_and_deletes_images_without_the_packages_of_the_loop(workspace: Path) -> None:
    image = next((workspace / "data").rglob("*.png"))
    assert run(workspace, "inspect", image).returncode == 0
    shutil.rmtree(workspace / "data")  # the dataset is not on a station
    (workspace / "service.yaml").write_text(
        "retention: {pass_days: 0.000001, review_days: 0.000001, fail_days: 0.000001}\n"
    )
    deleted = run(workspace, "ledger", "retention")
    assert deleted.returncode == 0, deleted.stderr
    assert "freed" in deleted.stdout
    verified = run(workspace, "ledger", "verify", "--images")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    exported = run(workspace, "ledger", "export", "audit", "--from", "2020-01-01", "--to", "2100-01-01")
    assert exported.returncode == 0, exported.stderr
    assert (workspace / "audit" / "summary.html").exists()
