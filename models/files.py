"""Write a file whole or not at all, for nobody but owner and group; read one that a person or another command left."""

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

PARTIAL = ".partial"  # at the end of the name of a file that is being written


def write_whole(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file by `replacing` it."""
    with replacing(path, durable=durable) as sink:
        sink.write(data)


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Temporary file beside it, fsync, rename, fsync of the folder: a reader, a kill or a power cut never finds half a file.

    Without `durable` the fsync is left to the caller, who writes thousands and makes them all durable at once.
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
            error.filename = str(path)  # a full disk says no name
        raise
    if durable:
        for folder in (path.parent, *(folder.parent for folder in made)):
            _sync_folder(folder)


def remove_partial(folder: Path) -> int:
    """Remove what killed writers left below `folder`, where nobody writes now; returns how many files that were."""
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
    """A directory to fill, which replaces `path` only when the block succeeds."""
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(path, ignore_errors=True)
    partial.replace(path)


def private_by_default() -> None:
    """What this process and its children create is for its owner to write, for its group to read, and for nobody else.

    Files become 0640 and directories 0750, or what a stricter umask says. A program calls it when it starts.
    """
    os.umask(os.umask(0o077) | 0o027)


def require_writable(folder: Path) -> None:
    """Raise BadInput unless files can be made in `folder`, which is made where it is absent."""
    probe = folder / f".{os.getpid()}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise BadInput(
            f"No file can be made in {folder}: {error.strerror}.",
            next_step="Choose another folder, or make room in it.",
        ) from error


def read_json(path: Path, *, next_step: str) -> Any:
    """The content of a JSON file that an earlier step wrote. Raises BadData for a damaged one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadData(f"{path} is damaged: {error}.", next_step=next_step) from error


def read_file(path: Path) -> bytes:
    """The bytes of a file. Raises BadData when it can't be read, and at once for a pipe or a device, which may never end."""
    try:
        with open(path, "rb", opener=_without_waiting) as source:
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                raise BadData(f"{path} is a pipe or a device, not a file.", next_step="Give the path of an image file.")
            return source.read()
    except OSError as error:
        raise BadData(f"{path} can't be read: {error.strerror}.", next_step="Check the path.") from error


def _sync_folder(folder: Path) -> None:
    """Make the names in it durable: a file that was renamed, or made, is lost with its entry otherwise."""
    number = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems know no fsync of a folder
            os.fsync(number)
    finally:
        os.close(number)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # opening a pipe would wait for its writer
