"""What the connector tests share: a workspace with a service.yaml, `defectloop connect` as a process, waiting."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.kept.unpacked import unpacked
from tests.pipelines.connectors.stand_in import KEY, LINE, StandIn

ROOT = Path(__file__).parents[3]
LIMIT_S = 60.0  # for a condition on a busy machine; it is usually met in a fraction of a second


def wait_for(condition: Callable[[], Any], what: Callable[[], object] = lambda: "") -> None:
    ends = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < ends, what()
        time.sleep(0.02)


@dataclass
class Connecting:
    """`defectloop connect` as a process of its own, which can be killed and started again."""

    root: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        path = self.root / "connect.log"
        return path.read_text() if path.exists() else ""

    def start(self) -> None:
        with (self.root / "connect.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.cli", "connect", "--workspace", str(self.root)],
                cwd=self.root,
                env=os.environ | {"PYTHONPATH": str(ROOT), "DEFECTLOOP_API_KEY": KEY} | self.environment,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it as systemd does; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)

    def says(self, text: str, times: int = 1) -> None:
        wait_for(lambda: self.log.count(text) >= times, lambda: f"{text!r} is not in:\n{self.log}")


def configure(root: Path, url: str, **connectors: Any) -> None:
    section = {"url": url, "line": LINE, **connectors}
    (root / "service.yaml").write_text(yaml.safe_dump({"connectors": section}))


@contextlib.contextmanager
def connecting(folder: Path, service: StandIn, environment: dict[str, str], **connectors: Any) -> Iterator[Connecting]:
    """A workspace with these connectors, and the process that connects them, not started yet."""
    root = unpacked(folder).root
    configure(root, service.url, **connectors)
    program = Connecting(root, environment)
    try:
        yield program
    finally:
        if program.process is not None and program.process.poll() is None:
            program.kill()
