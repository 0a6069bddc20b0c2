"""How long a call to a server may take in all, whatever the tool below does: `DEFECTLOOP_DEADLINE_S`.

Tools have a timeout for each try, or each packet; a server that answers slowly enough, or often enough with an error, keeps
them busy for minutes. A line can't wait that long, so a verdict gets a sixth of the time.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from models.errors import Unreachable
from pipelines import settings

VERDICT_SHARE = 1 / 6
TRIES = 3  # within one deadline, where a tool tries again by itself
T = TypeVar("T")


@dataclass
class _Budget:
    """What several calls may take together; the time between them does not count."""

    left_s: float


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


def call_s() -> float:
    """For one call, where nobody waits for a verdict."""
    return settings.load().deadline_s


def verdict_s() -> float:
    """For all calls that stand between an image and its verdict."""
    return call_s() * VERDICT_SHARE


@contextlib.contextmanager
def together(limit_s: float) -> Iterator[None]:
    """The calls in the block may take `limit_s` together, and none of them longer than what the others left."""
    token = _budget.set(_Budget(limit_s))
    try:
        yield
    finally:
        _budget.reset(token)


def within(call: Callable[[], T], what: str, *, next_step: str) -> T:
    """The call's result or its error. Raises Unreachable once the time is over; `what` names what was asked.

    A call that does not come back is left to a thread that ends with the process: no tool offers a way to break one off.
    """
    budget = _budget.get()
    limit_s = call_s() if budget is None else max(budget.left_s, 0.0)
    began = time.monotonic()
    result: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            result.append(call())
        except BaseException as error:  # handed on below
            raised.append(error)

    thread = threading.Thread(target=run, name=f"asks {what}", daemon=True)
    thread.start()
    thread.join(limit_s)
    if budget is not None:
        budget.left_s -= time.monotonic() - began
    if raised:
        raise raised[0]
    if not result:
        raise Unreachable(
            f"{what} did not answer within {limit_s:.0f} s (DEFECTLOOP_DEADLINE_S is {call_s():g}).",
            next_step=next_step,
        )
    return result[0]


class Bounded:
    """A tool's client whose every call ends in time. `errors` translates what the tool raises, or gives it back."""

    def __init__(self, client: Any, what: str, next_step: str, errors: Callable[[Exception], Exception]) -> None:
        self._client, self._what, self._next_step, self._errors = client, what, next_step, errors

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute

        def bounded(*arguments: Any, **named: Any) -> Any:
            try:
                return within(lambda: attribute(*arguments, **named), self._what, next_step=self._next_step)
            except Exception as error:
                raise self._errors(error) from error

        return bounded
