"""The handshake with a PLC: one trigger is one inspection, whatever connection breaks. Pure.

`trigger` is a sequence number that the PLC raises for each part, or a Boolean that it sets. `done` answers: it gets the
number, or is set. The PLC resets a Boolean trigger after `done`, and `done` is then reset too. Whether an inspection is
due follows from the two values alone, so a connector that was away looks at them and knows.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import Any

CODES = {"pass": 1, "review": 2, "fail": 3}  # of a numeric verdict node
ERROR = "error"
ERROR_CODE = 4  # no verdict: the image could not be inspected


class Step(Enum):
    WAIT = "wait"
    INSPECT = "inspect"
    RESET = "reset"


def step(trigger: Any, done: Any) -> Step:
    """Return what is to be done. A sequence number of 0 is none, so a PLC may start with it."""
    if isinstance(trigger, bool):
        if trigger and not done:
            return Step.INSPECT
        return Step.RESET if done and not trigger else Step.WAIT
    return Step.INSPECT if trigger and trigger != done else Step.WAIT


def key(connector: str, trigger: Any, path: str, part: str | None, view: str | None, data: bytes) -> str:
    """Return the idempotency key of a trigger. The image's bytes are in it, because a PLC that was reset counts again."""
    told = (connector, repr(trigger), path, part or "", view or "", hashlib.sha256(data).hexdigest())
    return f"opcua:{hashlib.sha256(chr(0).join(told).encode()).hexdigest()[:40]}"


def in_type(value: Any, is_text: bool, is_whole: bool) -> Any:
    """Return a value for a node: texts as they are or in words, numbers as numbers, absent ones as empty or 0."""
    if is_text:
        return "" if value is None else str(value)
    if isinstance(value, str) and value in (*CODES, ERROR):
        value = CODES.get(value, ERROR_CODE)
    try:
        number = float(value) if value is not None else 0.0
    except ValueError:
        number = 0.0
    return int(number) if is_whole else number
