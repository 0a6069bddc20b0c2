"""docs/connectors.md describes every key of the section `connectors`, and its examples are valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pipelines.connectors import config

PAGE = (Path(__file__).parents[2] / "docs" / "connectors.md").read_text()
CHAPTERS = {"Folders": config.Folder, "MQTT": config.Mqtt, "OPC UA": config.OpcUa, "Webhooks": config.Webhook}
KINDS = {"folders", "mqtt", "opcua", "webhooks"}


def documented(text: str) -> set[str]:
    rows = re.findall(r"^\| ((?:`[a-z_.]+`(?:, )?)+) \|", text, re.M)
    return {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row)}


def keys(kind: type) -> set[str]:
    fields = set(kind.model_fields)  # type: ignore[attr-defined]
    if kind is config.OpcUa:
        return fields - {"nodes"} | {f"nodes.{name}" for name in config.Nodes.model_fields}
    return fields


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_key_has_a_row_and_every_row_a_key(chapter: str) -> None:
    text = PAGE.split(f"### {chapter}\n")[1].split("\n##")[0]
    assert documented(text) == keys(CHAPTERS[chapter])


def test_every_key_of_the_section_has_a_row() -> None:
    text = PAGE.split("## Settings\n")[1].split("\n###")[0]
    assert documented(text) == set(config.Connectors.model_fields) - KINDS
    assert all(f"`tls.{name}`" in PAGE for name in config.Tls.model_fields)


def test_the_examples_are_valid() -> None:
    examples = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.S)]
    assert len(examples) >= 2
    for example in examples:
        assert config.Connectors.model_validate(example["connectors"]).number == 1
