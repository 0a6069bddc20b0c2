"""Archives, extracted with care: nothing lands outside, no links, and no more than an honest archive holds."""

from __future__ import annotations

import contextlib
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from models.errors import BadData

EXTRACTED = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
REFUSED = (".7z", ".rar", ".gz", ".bz2", ".xz", ".zst")
MAX_FILES = 1_000_000
MAX_BYTES = 200 * 2**30
MAX_RATIO = 200  # unpacked to packed: images hardly shrink, empty masks and BMPs do; bombs reach thousands
SMALL_BYTES = 10 * 2**20  # below it, a ratio says nothing
CHUNK = 2**20


def is_archive(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(EXTRACTED + REFUSED)


@contextlib.contextmanager
def extracted(path: Path, work: Path) -> Iterator[Path]:
    """A folder below `work` with what the archive holds, called like the archive, gone when the block ends.

    Raises BadData for what can't be extracted here, for names that lead outside, links, devices, and for archives that
    unpack to more than the limits. Archives inside are left packed.
    """
    name = path.name.lower()
    if not name.endswith(EXTRACTED):
        raise BadData(f"{path} can't be extracted here.", next_step="Extract it yourself, then ingest the folder.")
    stem = path.name[: -len(next(end for end in sorted(EXTRACTED, key=len, reverse=True) if name.endswith(end)))]
    folder = work / (stem or "archive")
    shutil.rmtree(folder, ignore_errors=True)  # what a killed try left
    folder.mkdir(parents=True)
    try:
        (_unzip if name.endswith(".zip") else _untar)(path, folder)
        yield _innermost(folder)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise BadData(f"{path} can't be extracted: {error}.", next_step="Deliver it again.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unzip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        meter = _Meter(path)
        for entry in archive.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _unsafe(path, entry.filename, "is a link or a device")
            target = _inside(path, folder, entry.filename)
            if entry.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            with archive.open(entry) as packed:
                meter.copy(packed, target)


def _untar(path: Path, folder: Path) -> None:
    with tarfile.open(path) as archive:
        meter = _Meter(path)
        for entry in archive:
            target = _inside(path, folder, entry.name)
            if entry.isdir():
                target.mkdir(parents=True, exist_ok=True)
            elif not entry.isfile():
                raise _unsafe(path, entry.name, "is a link or a device")
            else:
                packed = archive.extractfile(entry)
                assert packed is not None  # a regular file has contents
                meter.copy(packed, target)


class _Meter:
    """Counts while copying, so that a bomb is stopped before it fills the disk: what an entry claims is not believed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.packed = path.stat().st_size
        self.files = self.bytes = 0

    def copy(self, packed, target: Path) -> None:  # type: ignore[no-untyped-def]  # any binary file
        self.files += 1
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as sink:
            while chunk := packed.read(CHUNK):
                self.bytes += len(chunk)
                self._check()
                sink.write(chunk)
        self._check()

    def _check(self) -> None:
        large = self.bytes > max(SMALL_BYTES, MAX_RATIO * self.packed)
        if self.files > MAX_FILES or self.bytes > MAX_BYTES or large:
            raise BadData(
                f"{self.path} unpacks to more than {MAX_FILES:,} files, {MAX_BYTES // 2**30} GiB "
                f"or {MAX_RATIO} times its size.",
                next_step="If you trust it, extract it yourself, then ingest the folder.",
            )


def _inside(path: Path, folder: Path, name: str) -> Path:
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or (pure.parts and ":" in pure.parts[0]) or "\0" in name:
        raise _unsafe(path, name, "leads outside")
    return folder / pure


def _unsafe(path: Path, name: str, why: str) -> BadData:
    return BadData(f"{path}: {name!r} {why}; nothing was ingested.", next_step="Ask who sent it.")


def _innermost(folder: Path) -> Path:
    """Most archives hold one folder that holds everything."""
    inside = [entry for entry in folder.iterdir() if entry.name != "__MACOSX"]
    return _innermost(inside[0]) if len(inside) == 1 and inside[0].is_dir() else folder
