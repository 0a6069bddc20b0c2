"""Ways for a training to show its progress: not at all, or by dying of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


class Killed(Exception):
    pass


@contextlib.contextmanager
def silent(title: str, total: int) -> Iterator[Callable[[int], None]]:
    yield lambda done: None


@contextlib.contextmanager
def killed_after_two_epochs(title: str, total: int) -> Iterator[Callable[[int], None]]:
    def show(done: int) -> None:
        if title == "epochs" and done == 3:
            raise Killed

    yield show
