"""The content of a Label Studio result that a seal covers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def content(kind: str, labels: Sequence[str], numbers: Mapping[str, Any]) -> list[Any]:
    """Return everything whose change is a change of the result. `kind` is choices, rectangle, polygon, ellipse or brush."""
    stated = {name: value for name, value in numbers.items() if name != "rotation" or value}
    return [kind, list(labels), stated]
