"""Access to the files of a delivery. Files outside the delivery's folder are not read, whether a listing, a table or a link
points to them.

The folder is the one that the user named, or the folder of the file that the user named; for a file in `annotations`, the
parent of that folder. Links to files inside are followed; links to folders are not, because their files would be read
twice. Format readers open files only through this module.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from models.errors import BadData
from models.files import read_file

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}
_OF_TABLES = "annotations"  # folder in which COCO and others keep the table apart from the images
_ALLOW = "--allow-outside"


@dataclass(frozen=True)
class DeliveryFolder:
    """`named` is the user's path, `path` the folder that may be read; `outside` collects files read elsewhere."""

    named: Path
    path: Path
    allow_outside: bool = False
    outside: dict[str, None] = field(default_factory=dict)  # absolute paths, in the order of reading

    @cached_property
    def root(self) -> Path:
        return self.path.resolve()

    @cached_property
    def listing(self) -> Listing:
        """Everything below the folder, read once."""
        files: list[Path] = []
        linked: list[Path] = []
        for place, folders, inside in os.walk(self.path, onerror=_unlisted):
            here = Path(place)
            linked += [here / name for name in folders if os.path.islink(here / name)]
            files += [here / name for name in inside]
        return Listing(sorted(files), sorted(linked))

    def contains(self, path: Path) -> bool:
        """Return whether this path may be read. It need not exist."""
        if self.allow_outside or path == self.named:
            return True
        return _resolved(path).is_relative_to(self.root)

    def file(self, path: Path) -> Path | None:
        """Return the path if it is a file that may be read, or None if there is no file.

        Raises BadData for a file outside the folder, and for a pipe or device, whose reading may never end.
        """
        mode = _mode(path)
        if mode is None or stat.S_ISDIR(mode):
            return None
        if not stat.S_ISREG(mode):
            raise BadData(f"{path} is a pipe or a device, not a file.", next_step="Remove it from the delivery.")
        real = _resolved(path)
        if path != self.named and not real.is_relative_to(self.root):
            if not self.allow_outside:
                raise self._refusal([path])
            self.outside[str(real)] = None
        return path

    def first_of(self, candidates: Iterable[Path]) -> Path | None:
        """Return the first path that is a file inside the folder, or else the first one outside, checked by `file`."""
        existing = [path for path in candidates if _mode(path) is not None]
        for path in sorted(existing, key=self.contains, reverse=True):
            if file := self.file(path):
                return file
        return None

    def read(self, path: Path) -> bytes:
        """Return the bytes of a file. Checks it again, because minutes may have passed since the folder was listed."""
        if self.file(path) is None:
            raise BadData(f"{path} no longer exists.", next_step="Restore it, then run the command again.")
        return read_file(path)

    def name_of(self, path: Path) -> str:
        """Return the path relative to the folder, as in the file system. Non-UTF-8 names are escaped only for output."""
        return path.relative_to(self.path).as_posix()

    def found(self, suffixes: Collection[str], below: Path | None = None) -> list[Path]:
        """Return every file with one of these suffixes, sorted. Raises BadData if any lie outside or are not files."""
        wanted = [
            path
            for path in self.listing.files
            if path.suffix.lower() in suffixes and (below is None or path.is_relative_to(below))
        ]
        links = [path for path in wanted if path.is_symlink()]
        if astray := [path for path in links if not self.contains(path)]:
            raise self._refusal(astray)
        odd = [path for path in wanted if not path.is_file()]
        if odd:
            raise BadData(
                f"{len(odd)} of {len(wanted)} files below {self.path} are pipes, devices or broken links "
                f"(first: {odd[0]}).",
                next_step="Remove them from the folder.",
            )
        for path in links:
            self.file(path)
        return wanted

    def images(self, below: Path | None = None) -> list[Path]:
        """Return every image file, sorted. Raises BadData if there is none, and as `found` does."""
        files = self.found(IMAGE_SUFFIXES, below)
        if not files:
            raise BadData(
                f"No images below {below or self.path} ({', '.join(sorted(IMAGE_SUFFIXES))}).",
                next_step="Check the path: defectloop ingest FOLDER",
            )
        return files

    def others(self, taken: Iterable[Path]) -> list[str]:
        """Return the names of the files that were not used, without hidden files."""
        used = set(taken)
        left = (path for path in self.listing.files if path not in used and path.is_file())
        visible = (p for p in left if not any(part.startswith(".") for part in p.relative_to(self.path).parts))
        return [self.name_of(path) for path in visible]

    def remarks(self) -> dict[str, list[str]]:
        """Return a remark about links to folders, which are not followed."""
        linked = self.listing.linked_folders if self.named == self.path else []
        return {"link to a folder, not followed": [self.name_of(path) for path in linked]} if linked else {}

    def _refusal(self, paths: list[Path]) -> BadData:
        where = f"{paths[0]}, which is {_resolved(paths[0])}" if paths[0].is_symlink() else str(paths[0])
        subject = "A file lies" if len(paths) == 1 else f"{len(paths)} files lie"
        return BadData(
            f"{subject} outside the delivery's folder {self.path} ({'' if len(paths) == 1 else 'first: '}{where}).",
            next_step=f"Copy it into the delivery's folder, or read it where it is with {_ALLOW}",
        )


@dataclass(frozen=True)
class Listing:
    files: list[Path]
    linked_folders: list[Path]


def opened(source: Path, *, allow_outside: bool = False) -> DeliveryFolder:
    """Return the folder for the path that the user named. Opens no file yet."""
    if source.is_dir():
        return DeliveryFolder(source, source, allow_outside)
    around = source.parent
    if around.name.lower() == _OF_TABLES:
        around = around.parent
    return DeliveryFolder(source, around, allow_outside)


def _mode(path: Path) -> int | None:
    """Return the file mode, or None if nothing exists: also for a broken link or an invalid name."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _unlisted(error: OSError) -> None:
    raise BadData(
        f"{error.filename} cannot be listed: {error.strerror}.", next_step="Check the permissions of the folder."
    ) from error
