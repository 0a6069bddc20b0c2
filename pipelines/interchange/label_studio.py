"""Which of Label Studio's results say the same: what a seal is put on. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def content(kind: str, labels: Sequence[str], numbers: Mapping[str, Any]) -> list[Any]:
    """What a person would have to change to say something else; `kind` is choices, rectangle, polygon, ellipse or brush."""
    stated = {name: value for name, value in numbers.items() if name != "rotation" or value}
    return [kind, list(labels), stated]
