"""Atomic writes, private file permissions, and reading of files that people or other commands wrote."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from models.errors import BadData, BadInput

PARTIAL = ".partial"  # suffix of a file that is being written


def write_whole(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file atomically, see `replacing`."""
    with replacing(path, durable=durable) as sink:
        sink.write(data)


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Write a file atomically: temporary file beside it, fsync, rename, fsync of the folder. Yields the open file.

    Neither a reader nor a kill nor a power cut sees a partial file. Without `durable`, the caller syncs many files at once.
    """
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}{PARTIAL}")
    try:
        with partial.open("wb") as sink:
            yield sink
            if durable:
                sink.flush()
                os.fsync(sink.fileno())
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(partial)):
            error.filename = str(path)  # the error of a full disk has no file name
        raise
    if durable:
        for folder in (path.parent, *(folder.parent for folder in made)):
            _sync_folder(folder)


def remove_partial(folder: Path) -> int:
    """Remove partial files of killed processes below `folder`, in which nobody else may be writing. Returns their number."""
    partials = [
        Path(root, name)
        for root, _, names in os.walk(folder)
        for name in names
        if name.startswith(".") and name.endswith(PARTIAL)
    ]
    for path in partials:
        path.unlink(missing_ok=True)
    return len(partials)


@contextlib.contextmanager
def output_directory(path: Path) -> Iterator[Path]:
    """Yield a directory to fill. It replaces `path` only if the block succeeds."""
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(path, ignore_errors=True)
    partial.replace(path)


def private_by_default() -> None:
    """Set the umask so that new files are writable by the owner, readable by the group, and inaccessible to others.

    Files get mode 0640 and directories 0750, or less with a stricter umask. Programs call this at their start.
    """
    os.umask(os.umask(0o077) | 0o027)


def require_writable(folder: Path) -> None:
    """Raise BadInput unless files can be created in `folder`, which is created if needed."""
    probe = folder / f".{os.getpid()}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise BadInput(
            f"{folder} is not writable: {error.strerror}.",
            next_step="Choose another folder, or free disk space.",
        ) from error


def read_json(path: Path, *, next_step: str) -> Any:
    """Read a JSON file that an earlier step wrote. Raises BadData if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadData(f"{path} is damaged: {error}.", next_step=next_step) from error


def read_file(path: Path) -> bytes:
    """Return the bytes of a file. Raises BadData if it cannot be read, or is a pipe or device, whose reading may not end."""
    try:
        with open(path, "rb", opener=_without_waiting) as source:
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                raise BadData(f"{path} is a pipe or a device, not a file.", next_step="Give the path of an image file.")
            return source.read()
    except OSError as error:
        raise BadData(f"{path} cannot be read: {error.strerror}.", next_step="Check the path.") from error


def _sync_folder(folder: Path) -> None:
    """Sync a folder, so that its new and renamed entries survive a power cut."""
    number = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot sync folders
            os.fsync(number)
    finally:
        os.close(number)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # opening a pipe would wait for its writer
