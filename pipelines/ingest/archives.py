"""Safe extraction of deliveries in zip and tar archives: no path outside the target folder, no links, a limited total size.
One unsafe entry refuses the whole archive; the error names the entry.
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
OTHERS = (".7z", ".rar", ".gz", ".bz2", ".xz", ".zst")  # recognised, but not extracted here
MAX_ENTRIES = 1_000_000  # ten times the largest dataset that ingest is measured with
MAX_BYTES = 512 * 2**30  # size of 100,000 uncompressed images of 5 megapixels
MAX_RATIO = 100  # images are compressed already: single bitmaps of masks reach this ratio, whole deliveries do not
RATIO_COUNTS_FROM_BYTES = 256 * 2**20  # below this size, a high compression ratio is harmless
_CHUNK_BYTES = 1 << 20
_MAX_HEADER_BYTES = 16 << 20  # per tar entry, because tarfile allocates as much memory as a header asks for
# Exceptions that the readers raise on damaged or truncated archives.
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    RuntimeError,  # encrypted, or an unknown compression method
    KeyError,
    IndexError,
)


@dataclass(frozen=True)
class Extracted:
    """Path of the extracted delivery, its name, and the nested archives that were not extracted."""

    path: Path
    name: str
    nested: tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    name: str
    size_bytes: int  # as stated by the archive, which may be wrong
    problem: str | None  # why the entry is unsafe to extract
    is_folder: bool
    open: Callable[[], IO[bytes]]


def suffix(path: Path) -> str | None:
    """Return the suffix of an archive, such as `.tar.gz` or `.zip`, or None if the path is not an archive."""
    return next((end for end in (*TAR, *ZIP, *OTHERS) if path.name.lower().endswith(end)), None)


def refuse(path: Path) -> BadData:
    """Return the error for an archive given without --extract, or of a kind that is not supported."""
    if suffix(path) in OTHERS:
        return BadData(
            f"{path} is an archive in an unsupported format.",
            next_step="Extract it yourself, then ingest the folder.",
        )
    return BadData(f"{path} is an archive.", next_step=f"defectloop ingest {path} --extract")


@contextlib.contextmanager
def extracted(workspace: Workspace, path: Path) -> Iterator[Extracted]:
    """Extract an archive below the workspace's state directory for the duration of the block, then remove it.

    After a kill, the next ingest of the same archive uses the extracted files if they are complete; any other ingest
    removes them. Holds the line's lock. Raises BadData if the archive is damaged, unsafe or too large, and BadInput if the
    path is not an archive.
    """
    if not path.is_file():
        raise BadInput(
            f"{path} is not an archive: it does not exist or is a folder.",
            next_step="defectloop ingest photos.zip --extract",
        )
    if suffix(path) is None:
        raise BadInput(f"{path} is not an archive.", next_step="Omit --extract, or give a zip or tar archive.")
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
    """Return where the delivery begins: the first folder with several entries, or the manifest or COCO file in it.

    A single folder without sub-folders is a class, unless it has the archive's name.
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
    """Return the manifests and COCO files directly in a folder."""
    return [
        file
        for file in folder.iterdir()
        if file.suffix in (".csv", ".parquet") or coco.recognises(delivery_folder.opened(file))
    ]


def _extract(path: Path, folder: Path) -> list[str]:
    """Extract every file below `folder`. Returns the nested archives, which are skipped."""
    nested = []
    done = n_entries = 0
    allowed = min(MAX_BYTES, max(RATIO_COUNTS_FROM_BYTES, MAX_RATIO * path.stat().st_size))
    name = ""
    try:
        for entry in _entries(path):
            name, n_entries = entry.name, n_entries + 1
            if n_entries > MAX_ENTRIES:
                raise _unsafe(path, f"it has more than {MAX_ENTRIES:,} entries", "Split it into several archives.")
            problem = entry.problem or _misplaced(name)
            if problem:
                raise _unsafe(path, f"{name!r} {problem}", "Create the archive again without that entry.")
            if done + entry.size_bytes > allowed:
                raise _too_large(path, allowed)
            parts = _parts(name)
            if not parts or "__MACOSX" in parts or parts[-1].startswith("._"):  # macOS metadata
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
                    if done > allowed:  # the stated size may be wrong
                        raise _too_large(path, allowed)
                    sink.write(chunk)
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise _unsafe(path, f"it contains {name!r} twice", "Create the archive again with unique names.") from error
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno is None:  # gzip and bz2 raise this for bad data
            raise _damaged(path, error) from error
        if error.errno == errno.ENAMETOOLONG:
            what = f"the name {name[:80]!r}… is too long"
            raise _unsafe(path, what, "Create the archive again with shorter names.") from error
        raise DefectloopError(
            f"{path} cannot be extracted to {folder.parent}: {error.strerror}.",
            next_step="Free disk space, or set DEFECTLOOP_STATE to a directory on a larger disk.",
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
            kind = "is a link" if member.issym() or member.islnk() else "is not a regular file"
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
    """A file that limits the size of a single read, because tarfile reads a whole header at once."""

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
        problem = "is not a regular file"
    return _Entry(member.filename, member.file_size, problem, member.is_dir(), partial(archive.open, member))


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(name.replace("\\", "/")).parts if part != ".")


def _misplaced(name: str) -> str | None:
    """Return why a name would leave the folder under the rules of any operating system, or None if it stays inside."""
    parts = _parts(name)
    if name.startswith(("/", "\\")) or (parts and len(parts[0]) == 2 and parts[0][1] == ":"):
        return "has an absolute path"
    if ".." in parts:
        return "points outside the archive"
    if any(ord(character) < 32 for character in name):
        return "has control characters in its name"
    return None


def _damaged(path: Path, error: Exception) -> BadData:
    return BadData(
        f"{path} is damaged: {str(error).rstrip('.') or type(error).__name__}.", next_step="Copy or create it again."
    )


def _unsafe(path: Path, what: str, next_step: str) -> BadData:
    return BadData(f"{path} was not extracted: {what}.", next_step=next_step)


def _too_large(path: Path, allowed: int) -> BadData:
    what = f"its content is larger than {allowed / 2**30:.2f} GiB"
    what += f" (limit: {MAX_RATIO} times the archive's size, at most {MAX_BYTES >> 30} GiB)"
    return _unsafe(path, what, "If you trust the archive, extract it yourself and ingest the folder.")
