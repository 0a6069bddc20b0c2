"""What the documents say exists, and what exists the documents say."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from flows.cli import PANELS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
COMMANDS = sorted(command.__name__ for commands in PANELS.values() for command in commands)


def leaf_keys(tree: dict, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, value in tree.items():
        # Below a section, a mapping of numbers alone (shares, counts) is one value; below `model` it is a kind's section.
        numbers = isinstance(value, dict) and all(isinstance(item, int | float) for item in value.values())
        nested = isinstance(value, dict) and not (prefix not in ("", "model.") and numbers)
        keys += leaf_keys(value, f"{prefix}{name}.") if nested else [f"{prefix}{name}"]
    return keys


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_names_every_command(command: str) -> None:
    assert f"`defectloop {command}" in README


@pytest.mark.parametrize("command", re.findall(r"(?:^|`|bin/)defectloop ([a-z]+)", README + ARCHITECTURE, re.M))
def test_every_command_that_the_documents_name_exists(command: str) -> None:
    assert command in COMMANDS


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_every_command_has_an_example_in_its_help(panel: tuple) -> None:
    for command in panel:
        assert "Example: defectloop" in (command.__doc__ or ""), command.__name__


@pytest.mark.parametrize("key", leaf_keys(yaml.safe_load((ROOT / "params.yaml").read_text())))
def test_every_parameter_has_a_line_in_the_parameter_page(key: str) -> None:
    assert f"`{key}`" in (ROOT / "docs" / "params.md").read_text()


@pytest.mark.parametrize("key", re.findall(r"^\| `([a-z_.]+)`", (ROOT / "docs" / "params.md").read_text(), re.M))
def test_every_parameter_in_the_parameter_page_exists(key: str) -> None:
    assert key in leaf_keys(yaml.safe_load((ROOT / "params.yaml").read_text()))


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`((?:flows|pipelines|models|infra|tests|docs)/[\w./]*)`", README + ARCHITECTURE)))
)
def test_every_file_that_the_documents_name_exists(name: str) -> None:
    assert (ROOT / name).exists()


def test_the_code_map_names_every_room_and_no_other() -> None:
    tree = ARCHITECTURE[ARCHITECTURE.index("## Code map") : ARCHITECTURE.index("## Deliberately absent")]
    for floor in ("models", "pipelines", "flows"):
        rows = re.search(rf"^{floor}/.*\n((?:  .*\n)*)", tree, re.M)
        assert rows
        on_the_map = set(re.findall(r"(?<=  )([\w]+(?:\.py|/))(?=\s)", rows[1]))
        entries = {f"{path.name}/" if path.is_dir() else path.name for path in (ROOT / floor).iterdir()}
        assert on_the_map == {name for name in entries if not name.startswith("__")}


@pytest.mark.parametrize("floor", ["models", "pipelines"])
def test_every_room_says_what_belongs_in_it(floor: str) -> None:
    rooms = [path for path in (ROOT / floor).iterdir() if any(path.glob("*.py"))]
    assert rooms
    for room in rooms:
        assert ast.get_docstring(ast.parse((room / "__init__.py").read_text())), f"{room.name} says nothing of itself"


def test_the_environment_example_names_only_variables_that_are_read() -> None:
    from pipelines.settings import Settings

    page = (ROOT / "infra" / "README.md").read_text()
    names = {f"DEFECTLOOP_{name.upper()}" for name in Settings.model_fields if name != "tracking"}
    assert names == set(re.findall(r"`(DEFECTLOOP_[A-Z_]+)`", page))
    for line in (ROOT / "infra" / "shared-servers.env").read_text().splitlines():
        if not line.startswith("#"):
            assert line.split("=")[0] in page or line.startswith("AWS_")


def test_links_between_documents_lead_somewhere() -> None:
    for page in [
        ROOT / "README.md",
        ROOT / "ARCHITECTURE.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
    ]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


RELIABILITY = (ROOT / "docs" / "reliability.md").read_text()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", RELIABILITY))))
def test_every_test_that_stands_for_a_promise_exists(name: str) -> None:
    file, test = name.split("::")
    assert re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.M)


def test_every_promise_names_a_test() -> None:
    promises = re.findall(r"^\| (?!guarantee|---|fault)(.*?) \|.*\|(.*)\|$", RELIABILITY.split("## How")[0], re.M)
    assert promises
    assert [promise for promise, tests in promises if "::" not in tests] == []
