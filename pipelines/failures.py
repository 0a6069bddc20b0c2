"""Turns uncaught exceptions into errors that people can read, instead of a traceback."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator

from models.errors import DefectloopError, NotReady, Unexpected, masked

AGAIN = "then run the same command again: it continues where it stopped."
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
EXHAUSTED = {errno.EMFILE: "open files (ulimit -n)", errno.ENFILE: "open files", errno.EAGAIN: "processes (ulimit -u)"}
OF_CONNECTORS = ("aiomqtt", "asyncua", "watchfiles")
OUR_PACKAGES = ("models", "pipelines", "flows")
# Messages of SQLite, whichever library raises them.
DATABASE_FULL = "database or disk is full"
DATABASE_FORBIDDEN = ("readonly database", "unable to open database file")
DATABASE_DAMAGED = ("file is not a database", "database disk image is malformed", "file is encrypted")


def in_words(error: BaseException) -> DefectloopError:
    """Return the error as a DefectloopError: our own errors unchanged, errors of the system or a database explained, and any
    other error as Unexpected with the path of a log file."""
    if isinstance(error, DefectloopError):
        return error
    for cause in _chain(error):
        if explained := _explained(cause):
            return explained
    first = (str(error).strip().splitlines() or [""])[0]
    return Unexpected(
        f"{type(error).__name__}: {first}".rstrip(": "),
        next_step=f"This is a bug in defectloop or in a library. Please report it with {_traceback_kept(error)}.",
    )


def is_damage(error: BaseException) -> bool:
    """Return whether a database reports that its file is damaged or not a database."""
    return any(words in str(cause) for cause in _chain(error) for words in DATABASE_DAMAGED)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _explained(error: BaseException) -> DefectloopError | None:
    if isinstance(error, MemoryError):
        return DefectloopError("Out of memory.", next_step=f"Free memory, {AGAIN}")
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith(OUR_PACKAGES):
        return not_installed(error.name)
    if isinstance(error, OSError) and error.errno is not None:
        return _of_system(error, error.errno)
    text = str(error)
    if DATABASE_FULL in text:
        return DefectloopError(f"A database cannot be written: {DATABASE_FULL}.", next_step=f"Free disk space, {AGAIN}")
    if any(words in text for words in DATABASE_FORBIDDEN):
        return DefectloopError(
            f"A database cannot be written: {_first_line(text)}.",
            next_step=f"Check the permissions of .defectloop/ in the workspace and of its disk, {AGAIN}",
        )
    if any(words in text for words in DATABASE_DAMAGED):
        return DefectloopError(
            f"A database is damaged: {_first_line(text)}.",
            next_step="Restore ledger.db or mlflow.db in the workspace's .defectloop/ from a backup.",
        )
    return None


def not_installed(module: str) -> NotReady:
    """Return the error for a module that only the extras of pyproject.toml install."""
    package = module.partition(".")[0]
    if package in OF_CONNECTORS:
        return NotReady(
            f"A connector of service.yaml needs the Python package {package}, which is not installed here.",
            next_step="Install the connectors: pip install 'defectloop[connectors]'.",
        )
    return NotReady(
        f"This command needs the Python package {package}, which is not installed here.",
        next_step="An installation without extras only inspects. Install the whole loop: pip install 'defectloop[loop]'.",
    )


def _of_system(error: OSError, number: int) -> DefectloopError | None:
    where = error.filename or error.filename2
    place = os.fsdecode(where) if isinstance(where, str | bytes | os.PathLike) else "The output"
    reason = os.strerror(number)
    if number in FULL:
        return DefectloopError(f"{place} cannot be written: {reason}.", next_step=f"Free disk space, {AGAIN}")
    if number in FORBIDDEN:
        return DefectloopError(
            f"{place} cannot be accessed: {reason}.",
            next_step=f"Check its permissions and those of its disk, {AGAIN}",
        )
    if number in EXHAUSTED:
        return DefectloopError(f"The system's limit is reached: {EXHAUSTED[number]}.", next_step=f"Raise it, {AGAIN}")
    if number == errno.EIO:
        return DefectloopError(f"Disk error: {place}: {reason}.", next_step="Check the disk (dmesg).")
    return None


def short(error: BaseException) -> str:
    """Return the first line of an error's message, without the full stop."""
    return _first_line(str(getattr(error, "orig", None) or error).strip() or type(error).__name__)


def _first_line(text: str) -> str:
    return text.splitlines()[0].rstrip(".")


def _traceback_kept(error: BaseException) -> str:
    """Write the traceback to a file and return its path. It is in the temporary directory, because the workspace's disk may
    be the cause of the error."""
    text = masked(" ".join(sys.argv) + "\n\n" + "".join(traceback.format_exception(error)))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="defectloop-", suffix=".log", encoding="utf-8", delete=False
        ) as sink:
            sink.write(text)
        return sink.name
    except OSError:
        sys.stderr.write(text)
        return "the lines above"
