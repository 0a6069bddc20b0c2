"""A few lines of YAML can't stand for gigabytes, and what can't be read is named with its line."""

from __future__ import annotations

import time
import tracemalloc

import pytest
import yaml

from models import yaml_text


def bomb(levels: int = 12, width: int = 10) -> str:
    lines = ["a0: &a0 [x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]")
    return "\n".join(lines)


def test_an_alias_bomb_is_refused_at_once_and_in_little_memory() -> None:
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(yaml.YAMLError, match="expands to more than 1,000,000 values"):
        yaml_text.load(bomb())
    assert time.perf_counter() - started < 2
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3", "'a' occurs twice"),
        ("a: &x [*x]", "refers to a value that contains it"),
        ("[" * 1_000_000, "nested"),
        ("[" * 500 + "]" * 500, "nested"),
        ("a: " + "9" * 5000, "cannot be read"),
        ("a: 2026-13-77", "cannot be read"),
        ("[1, 2]: a", "not a plain value"),
        ("x" * (5 << 20), "more than 4,194,304"),
        ("--- 1\n--- 2", "document"),
    ],
)
def test_what_yaml_can_hide_is_an_error_with_a_reason(text: str, says: str) -> None:
    with pytest.raises(yaml.YAMLError, match=says):
        yaml_text.load(text)


def test_ordinary_anchors_and_merges_are_read() -> None:
    text = "base: &base {a: 1, b: 2}\nother:\n  <<: *base\n  c: 3\nagain: *base"
    assert yaml_text.load(text) == {
        "base": {"a": 1, "b": 2},
        "other": {"a": 1, "b": 2, "c": 3},
        "again": {"a": 1, "b": 2},
    }
    assert yaml_text.load("") is None
