"""The context of a training: parameters, folders, logger and progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.params import Params

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@contextmanager
def silent(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress function that shows nothing."""
    yield lambda done: None


@dataclass(frozen=True)
class TrainingContext:
    params: Params
    work: Path  # folder of this training, from which it is resumed after a kill
    cache: Path  # folder of features by image and of traced graphs, shared by all trainings
    logger: Any = False  # Lightning's logger, or False
    progress: Progress = silent
