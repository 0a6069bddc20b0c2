"""A delivery in a zip or tar archive, extracted so that it can harm nothing: no entry leaves its folder, none is a link, and
what an archive may grow to is limited. Whatever is wrong with one entry refuses the archive as a whole, by name.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import hashlib
import json
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from models.errors import BadData, BadInput, DefectloopError
from pipelines.ingest import coco, delivery_folder
from pipelines.locks import line_lock
from pipelines.workspace import Workspace

ZIP = (".zip",)
TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
OTHERS = (".7z", ".rar", ".gz", ".bz2", ".xz", ".zst")  # no reader for them that limits what they grow to
MAX_ENTRIES = 1_000_000  # ten times the largest dataset that ingest is measured with
MAX_BYTES = 512 * 2**30  # what 100,000 uncompressed images of 5 megapixels take
MAX_RATIO = 100  # images are compressed already; bitmaps of masks reach this, whole deliveries don't
RATIO_COUNTS_FROM_BYTES = 256 * 2**20  # below that a high ratio does no harm
_CHUNK_BYTES = 1 << 20
_MAX_HEADER_BYTES = 16 << 20  # of one tar entry: tarfile would take whatever memory a header asks for
# What the readers raise on bytes that are no such archive, or no whole one.
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    RuntimeError,  # encrypted, or compressed by a method that zipfile does not know
    KeyError,
    IndexError,
)


@dataclass(frozen=True)
class Extracted:
    """Where the delivery lies now, what it is called, and which archives inside it were left as they are."""

    path: Path
    name: str
    nested: tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    name: str
    size_bytes: int  # as the archive says it, which may be a lie
    problem: str | None  # why it can't be extracted
    is_folder: bool
    open: Callable[[], IO[bytes]]


def suffix(path: Path) -> str | None:
    """The ending that makes it an archive, `.tar.gz` or `.zip`; None for anything else."""
    return next((end for end in (*TAR, *ZIP, *OTHERS) if path.name.lower().endswith(end)), None)


def refuse(path: Path) -> BadData:
    """The error for an archive that nobody asked to extract, or that can't be."""
    if suffix(path) in OTHERS:
        return BadData(
            f"{path} is an archive of a kind that is not extracted here.",
            next_step="Extract it, then ingest the folder.",
        )
    return BadData(f"{path} is an archive.", next_step=f"defectloop ingest {path} --extract")


@contextlib.contextmanager
def extracted(workspace: Workspace, path: Path) -> Iterator[Extracted]:
    """The archive's content for the block, below the workspace's state; removed afterwards, whatever happened.

    A killed ingest leaves it: the next one of the same archive takes it up if it was extracted whole, and any other
    removes it. Holds the line's lock. Raises BadData for an archive that is damaged, unsafe or too large, and BadInput
    for what is no archive.
    """
    if not path.is_file():
        raise BadInput(f"There is no archive {path}.", next_step="defectloop ingest photos.zip --extract")
    if suffix(path) is None:
        raise BadInput(f"{path} is no archive.", next_step="Leave --extract out.")
    if suffix(path) in OTHERS:
        raise refuse(path)
    with line_lock(workspace, workspace.params().line, wait_s=600.0):
        place = workspace.state / "extracted"
        name = path.name[: -len(suffix(path) or "")]
        now = path.stat()
        key = f"{path.resolve()}\0{now.st_size}\0{now.st_mtime_ns}".encode()
        folder = place / hashlib.sha256(key).hexdigest()[:16]
        try:
            if place.exists():
                for left in place.iterdir():
                    if left != folder:
                        shutil.rmtree(left)
            if not folder.exists():
                begun = folder.with_name(f"{folder.name}.partial")
                (begun / "content").mkdir(parents=True)
                nested = _extract(path, begun / "content")
                (begun / "nested.json").write_text(json.dumps(nested))
                begun.rename(folder)
            nested = json.loads((folder / "nested.json").read_text())
            yield Extracted(_entrance(folder / "content", name), name, tuple(nested))
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _entrance(folder: Path, name: str) -> Path:
    """Where the delivery begins: below the folder that everything was packed in, or a manifest or COCO file on top.

    A single folder without folders in it is a class, unless it is called as the archive.
    """
    while True:
        inside = sorted(folder.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            break
        only = inside[0]
        if only.name != name and not any(entry.is_dir() for entry in only.iterdir()) and not _tables(only):
            break
        folder = only
    tables = _tables(folder)
    return tables[0] if len(tables) == 1 else folder


def _tables(folder: Path) -> list[Path]:
    """Manifests and COCO files right in a folder."""
    return [
        file
        for file in folder.iterdir()
        if file.suffix in (".csv", ".parquet") or coco.recognises(delivery_folder.opened(file))
    ]


def _extract(path: Path, folder: Path) -> list[str]:
    """Write every file below `folder`; returns the archives inside, which are left out."""
    nested = []
    done = n_entries = 0
    allowed = min(MAX_BYTES, max(RATIO_COUNTS_FROM_BYTES, MAX_RATIO * path.stat().st_size))
    name = ""
    try:
        for entry in _entries(path):
            name, n_entries = entry.name, n_entries + 1
            if n_entries > MAX_ENTRIES:
                raise _unsafe(path, f"it has more than {MAX_ENTRIES:,} entries", "Deliver it in several archives.")
            problem = entry.problem or _misplaced(name)
            if problem:
                raise _unsafe(path, f"{name!r} {problem}", "Pack it again without that entry.")
            if done + entry.size_bytes > allowed:
                raise _too_large(path, allowed)
            parts = _parts(name)
            if not parts or "__MACOSX" in parts or parts[-1].startswith("._"):  # macOS' notes about the files
                done += entry.size_bytes
                continue
            target = folder.joinpath(*parts)
            if entry.is_folder:
                target.mkdir(parents=True, exist_ok=True)
                continue
            if suffix(target):
                nested.append("/".join(parts))
                done += entry.size_bytes
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with entry.open() as source, target.open("xb") as sink:
                while chunk := source.read(_CHUNK_BYTES):
                    done += len(chunk)
                    if done > allowed:  # what is said about the size need not be true
                        raise _too_large(path, allowed)
                    sink.write(chunk)
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise _unsafe(path, f"{name!r} is in it twice", "Pack it again with every name once.") from error
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno is None:  # gzip and bz2 say so of bad data
            raise _damaged(path, error) from error
        if error.errno == errno.ENAMETOOLONG:
            raise _unsafe(path, f"{name[:80]!r}… is too long a name", "Pack it again with shorter names.") from error
        raise DefectloopError(
            f"{path} can't be extracted to {folder.parent}: {error.strerror}.",
            next_step="Make room there, or point DEFECTLOOP_STATE to a larger disk.",
        ) from error
    return nested


def _entries(path: Path) -> Iterator[_Entry]:
    if suffix(path) in ZIP:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                yield _zip_entry(archive, member)
        return
    with _Bounded(_decompressed(path)) as content, tarfile.open(fileobj=content, mode="r:") as archive:  # type: ignore[call-overload]
        for member in archive:
            kind = "is a link" if member.issym() or member.islnk() else "is no file"
            problem = None if member.isfile() or member.isdir() else kind
            yield _Entry(member.name, member.size, problem, member.isdir(), partial(_tar_file, archive, member))


def _tar_file(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    source = archive.extractfile(member)
    assert source is not None  # it is a file
    return source


def _decompressed(path: Path) -> IO[bytes]:
    with path.open("rb") as source:
        start = source.read(6)
    readers: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
    reader = next((read for magic, read in readers.items() if start.startswith(magic)), open)
    return reader(path, "rb")


class _Bounded:
    """A file whose single reads are limited: tarfile reads a header in one."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def __enter__(self) -> _Bounded:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self.file.read(size)


def _zip_entry(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Entry:
    kind = stat.S_IFMT(member.external_attr >> 16)
    problem = None
    if member.flag_bits & 1:
        problem = "is encrypted"
    elif kind == stat.S_IFLNK:
        problem = "is a link"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        problem = "is no file"
    return _Entry(member.filename, member.file_size, problem, member.is_dir(), partial(archive.open, member))


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(name.replace("\\", "/")).parts if part != ".")


def _misplaced(name: str) -> str | None:
    """Why a name would leave the folder, by the rules of any operating system; None where it stays inside."""
    parts = _parts(name)
    if name.startswith(("/", "\\")) or (parts and len(parts[0]) == 2 and parts[0][1] == ":"):
        return "has an absolute path"
    if ".." in parts:
        return "leads out of the archive"
    if any(ord(character) < 32 for character in name):
        return "has control characters in its name"
    return None


def _damaged(path: Path, error: Exception) -> BadData:
    return BadData(
        f"{path} is damaged: {str(error).rstrip('.') or type(error).__name__}.", next_step="Deliver it again."
    )


def _unsafe(path: Path, what: str, next_step: str) -> BadData:
    return BadData(f"{path} is not extracted: {what}.", next_step=next_step)


def _too_large(path: Path, allowed: int) -> BadData:
    what = f"its content is larger than {allowed / 2**30:.2f} GiB"
    what += f" ({MAX_RATIO} times the archive, {MAX_BYTES >> 30} GiB at most)"
    return _unsafe(path, what, "If you trust it, extract it yourself and ingest the folder.")
