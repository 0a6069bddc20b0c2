"""The one door to the files of a delivery: whatever names them (a listing, a table's column, a link), nothing outside the
delivery's own folder is read.

The folder is the one that was named; of a file that was named, the folder it lies in, and for one in `annotations` the
folder around that. Links to files inside are followed, links to folders are not: what they hold would come twice. Formats
open no file by themselves.
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
_OF_TABLES = "annotations"  # where COCO and others keep the table apart from the images
_ALLOW = "--allow-outside"


@dataclass(frozen=True)
class DeliveryFolder:
    """`named` is what the user typed, `path` the folder that may be read; `outside` collects what was read elsewhere."""

    named: Path
    path: Path
    allow_outside: bool = False
    outside: dict[str, None] = field(default_factory=dict)  # absolute paths, in the order in which they were met

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
        """Whether this path may be read, be there anything or not."""
        if self.allow_outside or path == self.named:
            return True
        return _resolved(path).is_relative_to(self.root)

    def file(self, path: Path) -> Path | None:
        """The path, where it is a file that may be read; None where there is no file.

        Raises BadData for a file that lies outside, and for a pipe or a device, which may never end.
        """
        mode = _mode(path)
        if mode is None or stat.S_ISDIR(mode):
            return None
        if not stat.S_ISREG(mode):
            raise BadData(f"{path} is no file but a pipe or a device.", next_step="Take it out of the delivery.")
        real = _resolved(path)
        if path != self.named and not real.is_relative_to(self.root):
            if not self.allow_outside:
                raise self._refusal([path])
            self.outside[str(real)] = None
        return path

    def first_of(self, candidates: Iterable[Path]) -> Path | None:
        """The first of these paths that is a file inside the folder; or else the first one outside, as `file` has it."""
        existing = [path for path in candidates if _mode(path) is not None]
        for path in sorted(existing, key=self.contains, reverse=True):
            if file := self.file(path):
                return file
        return None

    def read(self, path: Path) -> bytes:
        """The bytes of a file; checked again, because minutes may lie between the listing and the reading."""
        if self.file(path) is None:
            raise BadData(f"{path} does not exist (any more).", next_step="Deliver it again, then repeat the command.")
        return read_file(path)

    def name_of(self, path: Path) -> str:
        """Below the folder, as the file system has it: what is no UTF-8 is only escaped where it is shown or kept."""
        return path.relative_to(self.path).as_posix()

    def found(self, suffixes: Collection[str], below: Path | None = None) -> list[Path]:
        """Every file with one of these endings, sorted. Raises BadData for what lies outside, counted, and for what is no
        file."""
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
                f"{len(odd)} of {len(wanted)} files below {self.path} are no files but pipes, devices or broken "
                f"links (first: {odd[0]}).",
                next_step="Take them out of the folder.",
            )
        for path in links:
            self.file(path)
        return wanted

    def images(self, below: Path | None = None) -> list[Path]:
        """Every image file, sorted. Raises BadData when there is none, and as `found` does."""
        files = self.found(IMAGE_SUFFIXES, below)
        if not files:
            raise BadData(
                f"No images below {below or self.path} ({', '.join(sorted(IMAGE_SUFFIXES))}).",
                next_step="Check the path: defectloop ingest FOLDER",
            )
        return files

    def others(self, taken: Iterable[Path]) -> list[str]:
        """Names of the files that nothing was made of, hidden ones left aside."""
        used = set(taken)
        left = (path for path in self.listing.files if path not in used and path.is_file())
        visible = (p for p in left if not any(part.startswith(".") for part in p.relative_to(self.path).parts))
        return [self.name_of(path) for path in visible]

    def remarks(self) -> dict[str, list[str]]:
        """Links to folders, which are passed over."""
        linked = self.listing.linked_folders if self.named == self.path else []
        return {"link to a folder, not followed": [self.name_of(path) for path in linked]} if linked else {}

    def _refusal(self, paths: list[Path]) -> BadData:
        where = f"{paths[0]}, which is {_resolved(paths[0])}" if paths[0].is_symlink() else str(paths[0])
        subject = "A file lies" if len(paths) == 1 else f"{len(paths)} files lie"
        return BadData(
            f"{subject} outside the delivery's folder {self.path} ({'' if len(paths) == 1 else 'first: '}{where}).",
            next_step=f"Copy what belongs to the delivery into its folder; if you mean to read it where it is: {_ALLOW}",
        )


@dataclass(frozen=True)
class Listing:
    files: list[Path]
    linked_folders: list[Path]


def opened(source: Path, *, allow_outside: bool = False) -> DeliveryFolder:
    """The folder of what the user named. Opens nothing yet."""
    if source.is_dir():
        return DeliveryFolder(source, source, allow_outside)
    around = source.parent
    if around.name.lower() == _OF_TABLES:
        around = around.parent
    return DeliveryFolder(source, around, allow_outside)


def _mode(path: Path) -> int | None:
    """None where nothing is there, or can be: a broken link, too long a name, a name with a NUL."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _unlisted(error: OSError) -> None:
    raise BadData(
        f"{error.filename} can't be listed: {error.strerror}.", next_step="Check the permissions of the folder."
    ) from error
