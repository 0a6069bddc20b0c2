"""Deadlines for calls to servers (`DEFECTLOOP_DEADLINE_S`), including all retries of the client library.

Client libraries have timeouts per attempt or per packet, so a server that answers slowly or with errors can keep them busy
for minutes. A production line cannot wait that long, so verdicts get a sixth of the deadline.
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
TRIES = 3  # attempts within one deadline, for clients that retry
T = TypeVar("T")


@dataclass
class _Budget:
    """Time that several calls may take together; the time between them does not count."""

    left_s: float


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


def call_s() -> float:
    """Return the deadline of one call in seconds, if no verdict waits for it."""
    return settings.load().deadline_s


def verdict_s() -> float:
    """Return the deadline in seconds for all calls that a verdict waits for."""
    return call_s() * VERDICT_SHARE


@contextlib.contextmanager
def together(limit_s: float) -> Iterator[None]:
    """Limit the total time of all calls in the block to `limit_s` seconds."""
    token = _budget.set(_Budget(limit_s))
    try:
        yield
    finally:
        _budget.reset(token)


def within(call: Callable[[], T], what: str, *, next_step: str) -> T:
    """Return the call's result or raise its error. Raises Unreachable after the deadline; `what` names the server.

    A call that does not return is left in a daemon thread, because the client libraries cannot cancel calls.
    """
    budget = _budget.get()
    limit_s = call_s() if budget is None else max(budget.left_s, 0.0)
    began = time.monotonic()
    result: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            result.append(call())
        except BaseException as error:  # raised below, in the calling thread
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
    """A client whose every call has a deadline. `errors` translates the client's exceptions, or returns them unchanged."""

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
