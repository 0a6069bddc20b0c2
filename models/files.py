"""Write a file whole or not at all; read one that a person names."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from models.errors import BadData


def write_whole(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Temporary file beside it, fsync, rename: a reader, or a kill, never finds half a file.

    Without `durable` the fsync is left to the caller, who writes thousands and makes them all durable at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    with partial.open("wb") as sink:
        sink.write(data)
        if durable:
            sink.flush()
            os.fsync(sink.fileno())
    partial.replace(path)


@contextlib.contextmanager
def output_directory(path: Path) -> Iterator[Path]:
    """A directory to fill, which replaces `path` only when the block succeeds."""
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(path, ignore_errors=True)
    partial.replace(path)


def read_file(path: Path) -> bytes:
    """The bytes of a file. Raises BadData when it can't be read, and at once for a pipe or a device, which may never end."""
    try:
        with open(path, "rb", opener=_without_waiting) as source:
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                raise BadData(f"{path} is no file but a pipe or a device.", next_step="Name an image file.")
            return source.read()
    except OSError as error:
        raise BadData(f"{path} can't be read: {error.strerror}.", next_step="Check the path.") from error


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # opening a pipe would wait for its writer
