"""Copies what a step of work prints to the log of its flow run, so that Prefect's page says what the terminal says."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from pipelines import progress


@contextlib.contextmanager
def copied() -> Iterator[None]:
    """Copy the lines of `pipelines.progress`, also those of stages that DVC runs as programs of their own."""
    with tempfile.TemporaryDirectory(prefix="defectloop-log-") as folder:
        kept = Path(folder) / "lines"
        os.environ[progress.COPY] = str(kept)
        try:
            yield
        finally:
            os.environ.pop(progress.COPY, None)
            for line in kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []:
                tell(line)


def tell(text: str) -> None:
    """Write one line to the run's log. Does nothing outside of a run."""
    with contextlib.suppress(MissingContextError):
        get_run_logger().info(text)
