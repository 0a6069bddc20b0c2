"""Topics and payloads of MQTT: what a message asks for, and where its verdict goes. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models import names
from models.errors import BadInput

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
FIELDS = ("id", "part", "view", "slice", "captured_at", "file_name")  # texts of a JSON message, beside image or path
ABSENT = "-"  # in a topic, for a placeholder without a value


@dataclass(frozen=True)
class Asked:
    """What a message asks for: an image, or the path of one below the connector's folder, and what is stated about it."""

    data: bytes | None
    path: str | None
    stated: Mapping[str, str]


def placeholders(pattern: str) -> list[str]:
    """Return the placeholders of a topic pattern such as `inspect/{part}/image`. Raises ValueError if it is no topic."""
    if not pattern or pattern.startswith("$") or any(character in pattern for character in "+#\0"):
        raise ValueError(f"{pattern!r} is no topic; write placeholders such as {{part}} instead of + and #")
    found = []
    for level in pattern.split("/"):
        match = _PLACEHOLDER.fullmatch(level)
        if match:
            found.append(match[1])
        elif "{" in level or "}" in level:
            raise ValueError(f"{level!r} must be a placeholder alone, because it stands for a whole level of the topic")
    if len(found) != len(set(found)):
        raise ValueError(f"{pattern!r} has a placeholder twice")
    return found


def subscription(pattern: str) -> str:
    """Return the topic filter that receives everything that matches the pattern."""
    return _PLACEHOLDER.sub("+", pattern)


def in_topic(pattern: str, topic: str) -> dict[str, str]:
    """Return the values of the placeholders in a topic that matches the pattern, decoded (see `names.for_tools`)."""
    levels = zip(pattern.split("/"), topic.split("/"), strict=False)
    found = {match[1]: names.decoded(value) for level, value in levels if (match := _PLACEHOLDER.fullmatch(level))}
    return {name: value for name, value in found.items() if value not in ("", ABSENT)}


def filled(pattern: str, values: Mapping[str, Any]) -> str:
    """Return the topic of a pattern. A value is encoded so that it is one level, and `-` stands for an absent one."""
    return _PLACEHOLDER.sub(lambda match: names.for_tools(str(values.get(match[1]) or "")) or ABSENT, pattern)


def asked(payload: bytes, kind: str, stated: Mapping[str, str], largest_bytes: float) -> Asked:
    """Return what a message asks for. `stated` comes from its topic; a field of a JSON message takes precedence.

    Raises BadInput that says what is wrong with the message.
    """
    if kind == "image":
        if not payload:
            raise BadInput("The message is empty.", next_step="Send the bytes of an image file.")
        return Asked(_limited(payload, largest_bytes), None, stated)
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The message is not JSON: {error}.", next_step=_SHAPE) from error
    if not isinstance(message, dict):
        raise BadInput("The message is not a JSON object.", next_step=_SHAPE)
    if unknown := sorted(set(message) - {*FIELDS, "image", "path"}):
        raise BadInput(f"The message has the unknown field {unknown[0]!r}.", next_step=_SHAPE)
    fields = {name: value for name, value in message.items() if value is not None}
    if wrong := next((name for name, value in fields.items() if not isinstance(value, str)), None):
        raise BadInput(f"The field {wrong!r} is not a text.", next_step=_SHAPE)
    if ("image" in fields) == ("path" in fields):
        raise BadInput("The message needs either image or path.", next_step=_SHAPE)
    texts = {**stated, **{name: fields[name] for name in FIELDS if name in fields}}
    if "path" in fields:
        return Asked(None, fields["path"], texts)
    try:
        data = base64.b64decode(fields["image"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"The field 'image' is not base64: {error}.", next_step=_SHAPE) from error
    return Asked(_limited(data, largest_bytes), None, texts)


def _limited(data: bytes, largest_bytes: float) -> bytes:
    if len(data) > largest_bytes:
        raise BadInput(
            f"The image has {len(data) / 1e6:.1f} MB, more than {largest_bytes / 1e6:.1f} MB.",
            next_step="Send a smaller image, or raise largest_mb in service.yaml.",
        )
    return data


_SHAPE = f'Send {{"image": "base64"}} or {{"path": "below the folder"}} with any of {", ".join(FIELDS)}.'
