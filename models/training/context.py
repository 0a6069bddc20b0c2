"""What every training is given beside its examples."""

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
    """Progress that is shown to nobody."""
    yield lambda done: None


@dataclass(frozen=True)
class TrainingContext:
    params: Params
    work: Path  # of this training alone: one that was killed goes on from what it left here
    cache: Path  # frozen features by image, for every later training
    logger: Any = False  # Lightning's; False for none
    progress: Progress = silent
