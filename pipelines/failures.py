"""An exception that nobody caught, as one of ours: what a person reads instead of a traceback."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator

from models.errors import DefectloopError, Unexpected, masked

AGAIN = "then run the same command again: it goes on where it stopped."
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
EXHAUSTED = {errno.EMFILE: "open files (ulimit -n)", errno.ENFILE: "open files", errno.EAGAIN: "processes (ulimit -u)"}
# What databases say, whichever library hands it on.
DATABASE_FULL = "database or disk is full"
DATABASE_FORBIDDEN = ("readonly database", "unable to open database file")
DATABASE_DAMAGED = ("file is not a database", "database disk image is malformed", "file is encrypted")


def in_words(error: BaseException) -> DefectloopError:
    """The error itself where it is ours; what the system or a database said, explained; else one sentence and a log file."""
    if isinstance(error, DefectloopError):
        return error
    for one in _chain(error):
        if explained := _explained(one):
            return explained
    first = (str(error).strip().splitlines() or [""])[0]
    return Unexpected(
        f"{type(error).__name__}: {first}".rstrip(": "),
        next_step=f"This is a defect of defectloop, or of a tool below it. The traceback is in {_traceback_kept(error)}.",
    )


def is_damage(error: BaseException) -> bool:
    """Whether a database says that its file is none, or broken."""
    return any(words in str(one) for one in _chain(error) for words in DATABASE_DAMAGED)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it came from."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _explained(error: BaseException) -> DefectloopError | None:
    if isinstance(error, MemoryError):
        return DefectloopError("There is not enough memory.", next_step=f"Free some, {AGAIN}")
    if isinstance(error, OSError) and error.errno is not None:
        return _of_system(error, error.errno)
    text = str(error)
    if DATABASE_FULL in text:
        return DefectloopError(f"A database can't be written: {DATABASE_FULL}.", next_step=f"Make room, {AGAIN}")
    if any(words in text for words in DATABASE_FORBIDDEN):
        return DefectloopError(
            f"A database can't be written: {_first_line(text)}.",
            next_step=f"Check the permissions of the workspace's .defectloop/ and of its disk, {AGAIN}",
        )
    if any(words in text for words in DATABASE_DAMAGED):
        return DefectloopError(
            f"A database is damaged: {_first_line(text)}.",
            next_step="Restore ledger.db or mlflow.db, below the workspace's .defectloop/, from a backup.",
        )
    return None


def _of_system(error: OSError, number: int) -> DefectloopError | None:
    where = error.filename or error.filename2
    place = os.fsdecode(where) if isinstance(where, str | bytes | os.PathLike) else "What the command writes"
    reason = os.strerror(number)
    if number in FULL:
        return DefectloopError(f"{place} can't be written: {reason}.", next_step=f"Make room, {AGAIN}")
    if number in FORBIDDEN:
        return DefectloopError(
            f"{place} can't be used: {reason}.",
            next_step=f"Check its permissions and those of the disk that it lies on, {AGAIN}",
        )
    if number in EXHAUSTED:
        return DefectloopError(f"The system gives no more {EXHAUSTED[number]}.", next_step=f"Raise that limit, {AGAIN}")
    if number == errno.EIO:
        return DefectloopError(f"The disk fails: {place}: {reason}.", next_step="Check the disk (dmesg).")
    return None


def short(error: BaseException) -> str:
    """The first line of what an error says, without the full stop."""
    return _first_line(str(getattr(error, "orig", None) or error).strip() or type(error).__name__)


def _first_line(text: str) -> str:
    return text.splitlines()[0].rstrip(".")


def _traceback_kept(error: BaseException) -> str:
    """The file that holds the traceback: in the temporary directory, since the workspace's disk may be what failed."""
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
