"""What goes wrong in a trial, and the seams at which it can: changes to files and databases, and subprocesses.

A seam is counted in all processes of a command together, so that a number names one moment of it.
"""

from __future__ import annotations

import builtins
import errno
import io
import mmap
import os
import resource
import signal
import sqlite3
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

COUNT = struct.Struct("q")
SMALLEST_LIMIT, LARGEST_LIMIT = 12, 20  # powers of two, bytes


class Kind(StrEnum):
    SEAM = "killed at a seam"  # before or after one rename, removal, commit, subprocess, or with a file just begun
    TIME = "killed at a time"
    FULL = "disk full"  # from one seam on, nothing more can be written
    LIMIT = "file too large"  # no file may grow beyond a size, in subprocesses too
    TWICE = "two at once"
    PROGRAM = "killed as a program"  # of its own, at a time: imports, Prefect and all


@dataclass(frozen=True)
class Fault:
    """`moment` in [0, 1): how far through the command. `alone`: a kill reaches the one process and not its group."""

    kind: Kind
    moment: float
    alone: bool
    after: bool  # a seam

    def at_seam(self, n_seams: int) -> int:
        return 1 + int(self.moment * n_seams)


class Seams:
    """Counts seams, and does at one of them what the fault says. Install it in the process that it is to disturb."""

    def __init__(self) -> None:
        self.shared = mmap.mmap(-1, 4096)  # forks share it

    def reset(self) -> None:
        self.shared[:] = bytes(len(self.shared))

    @property
    def count(self) -> int:
        return int(COUNT.unpack_from(self.shared)[0])

    @property
    def reached(self) -> str:
        """Where the fault struck; empty when it did not."""
        return bytes(self.shared[COUNT.size :]).rstrip(b"\0").decode(errors="replace")

    def install(self, fault: Fault | None, n_seams: int, below: Path) -> None:
        """Wrap what changes files below `below`, commits of databases, and subprocesses."""
        chosen = fault.at_seam(n_seams) if fault and fault.kind in (Kind.SEAM, Kind.FULL) else 0
        if fault and fault.kind is Kind.LIMIT:
            size = int(2 ** (SMALLEST_LIMIT + fault.moment * (LARGEST_LIMIT - SMALLEST_LIMIT)))
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            self._note(f"no file over {size} bytes")

        def reach(what: str, writes: bool) -> Callable[[], None]:
            """To be called before the seam; returns what is to be called after it."""
            number = self.count + 1
            COUNT.pack_into(self.shared, 0, number)
            if fault is None or chosen == 0:
                return lambda: None
            if fault.kind is Kind.FULL:
                if number >= chosen and writes:
                    self._note(what)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), what)
                return lambda: None
            if number != chosen:
                return lambda: None
            if not fault.after:
                self._kill(fault, f"before {what}")
            return lambda: self._kill(fault, f"after {what}")

        _wrap_files(reach, str(below))
        _wrap_commits(reach)
        _wrap_subprocesses(reach)

    def _note(self, what: str) -> None:
        if not self.reached:
            text = what.encode()[: len(self.shared) - COUNT.size]
            self.shared[COUNT.size : COUNT.size + len(text)] = text

    def _kill(self, fault: Fault, what: str) -> None:
        self._note(what)
        kill(0, fault)


def kill(pid: int, fault: Fault) -> None:
    """End a process, or its group, as `kill -9` does; 0 is the present one."""
    if fault.alone:
        os.kill(pid or os.getpid(), signal.SIGKILL)
    else:
        os.killpg(pid, signal.SIGKILL)
    if pid == 0:
        time.sleep(60)  # it comes at once, though not always before the next statement


def _wrap_files(reach: Callable[[str, bool], Callable[[], None]], below: str) -> None:
    def concerned(path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(below)

    def wrapped(function: Callable[..., Any], name: str, writes: bool) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            first = arguments[0] if arguments else None
            if isinstance(first, str | os.PathLike) and not concerned(first) and "dir_fd" not in named:
                return function(*arguments, **named)
            shown = os.path.relpath(first, below) if concerned(first) else first
            done = reach(f"{name}({shown})", writes)
            result = function(*arguments, **named)
            done()
            return result

        return call

    for name in ("rename", "replace", "link", "symlink", "mkdir", "fsync", "sync"):
        setattr(os, name, wrapped(getattr(os, name), name, True))
    for name in ("unlink", "remove", "rmdir"):
        setattr(os, name, wrapped(getattr(os, name), name, False))

    really_open = io.open

    def opened(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if not set(mode) & set("wxa+") or not concerned(file):
            return really_open(file, mode, *arguments, **named)
        done = reach(f"open({os.path.relpath(file, below)}, {mode!r})", True)
        result = really_open(file, mode, *arguments, **named)
        done()
        return result

    builtins.open = io.open = opened  # type: ignore[assignment]


def _wrap_commits(reach: Callable[[str, bool], Callable[[], None]]) -> None:
    from sqlalchemy.engine.default import DefaultDialect

    commit = DefaultDialect.do_commit

    def do_commit(self: Any, connection: Any) -> None:
        try:
            done = reach("commit", True)
        except OSError as error:
            raise sqlite3.OperationalError("database or disk is full") from error
        commit(self, connection)
        done()

    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]


def _wrap_subprocesses(reach: Callable[[str, bool], Callable[[], None]]) -> None:
    begin = subprocess.Popen.__init__

    def __init__(self: Any, command: Any, *arguments: Any, **named: Any) -> None:
        words = command if isinstance(command, str) else " ".join(map(str, command[:3]))
        done = reach(f"run({words})", False)
        begin(self, command, *arguments, **named)
        done()

    subprocess.Popen.__init__ = __init__  # type: ignore[method-assign]
