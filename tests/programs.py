"""Start programs as forks of `tests.preloaded`, as `subprocess` starts new interpreters."""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[1]
STAGE = "python -m "


@dataclass
class Program:
    """A program that was started; `returncode` is None while it runs, negative where a signal ended it."""

    words: Sequence[str]
    ending: socket.socket
    pid: int = 0
    returncode: int | None = None

    def __post_init__(self) -> None:
        self.pid = self._number()

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. Raises TimeoutExpired as `subprocess` does."""
        if self.returncode is None:
            self.ending.settimeout(timeout)
            try:
                self.returncode = self._number()
            except TimeoutError:
                raise subprocess.TimeoutExpired(list(self.words), timeout or 0) from None
            self.ending.close()
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def _number(self) -> int:
        answer = self.ending.recv(8)
        assert answer, "The process that programs are forked from has ended."
        return int(array.array("q", answer)[0])


class Preloaded:
    """The process that programs are forked from, started when the first is wanted; `exports` keeps what torch exports."""

    def __init__(self, exports: Path) -> None:
        self.exports = exports
        self._server: subprocess.Popen[bytes] | None = None

    def start(
        self,
        words: Sequence[object],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdout: IO[Any] | int = subprocess.DEVNULL,
        stderr: IO[Any] | int = subprocess.DEVNULL,
    ) -> Program:
        """Start the program that an interpreter with these words is: `-m MODULE …` or `-c CODE …`."""
        asked = {"words": [str(word) for word in words], "cwd": str(cwd), "stage": False}
        return self._ask(asked | {"env": dict(os.environ if env is None else env)}, stdout, stderr)

    def run(self, *words: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end; what it says comes back as text."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            program = self.start(words, cwd=cwd, env=os.environ | environment, stdout=out, stderr=err)
            code = program.wait()
            return subprocess.CompletedProcess(program.words, code, *map(_text, (out, err)))

    def run_stage(self, request: dict[str, Any]) -> int:
        """Run a stage of `dvc.yaml` for the present process; its exit code."""
        return self._ask(request, 1, 2).wait()

    def end(self) -> None:
        if self._server is not None:
            self._requests.close()
            self._server.wait()

    def _ask(self, request: dict[str, Any], *output: IO[Any] | int) -> Program:
        if self._server is None:
            self._begin()
        mine, its = socket.socketpair()
        with its, open(os.devnull, "w") as nothing:
            files = [nothing.fileno() if one == subprocess.DEVNULL else _number(one) for one in output]
            socket.send_fds(self._requests, [json.dumps(request).encode()], [its.fileno(), *files])
        return Program(request.get("words", ["stage"]), mine)

    def _begin(self) -> None:
        self._requests, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.preloaded", str(its.fileno()), str(self.exports)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
            )


def stage_by(ask: Callable[[dict[str, Any]], int]) -> Callable[..., None]:
    """What DVC runs a stage's command with, where `ask` forks it and returns its exit code."""

    def run(executable: str, command: str, **how: Any) -> None:
        from dvc.stage.exceptions import StageCmdFailedError

        assert command.startswith(STAGE), command
        request = {"stage": True, "module": command.removeprefix(STAGE), "env": how["env"], "cwd": str(how["cwd"])}
        code = ask(request)
        if code:
            raise StageCmdFailedError(command, code if code > 0 else 128 - code)  # as a shell says it

    return run


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _number(file: IO[Any] | int) -> int:
    return file if isinstance(file, int) else file.fileno()
