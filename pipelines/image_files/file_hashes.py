"""Checks whether the files of `data/` still have the hash in their names: `images/ab/SHA256.png`, `masks/…`.

Checked files are remembered by size, time and inode, so a repeated check only needs their metadata. `defectloop audit
--hashes` reads every file, which also finds files whose time was set back after a change.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from models.dataset import annotation_table
from models.errors import BadData
from models.files import write_whole
from pipelines.workspace import Workspace

FOLDER = "file-hashes"  # in the state's cache: deleting it only costs time
CLOCK_TICK_NS = 50_000_000  # a file that changes again within a tick of the file system's clock would go unnoticed
LISTED = 5


@dataclass(frozen=True)
class HashCheck:
    """Result of a check of all annotated files below `data/`. `hashed` is the number of files that were read."""

    checked: int
    hashed: int
    altered: tuple[str, ...]
    missing: tuple[str, ...]


def check(workspace: Workspace, *, every_file: bool = False, show: Callable[[int], None] | None = None) -> HashCheck:
    """Compare each annotated image and mask with the hash in its name. `every_file` also reads unchanged files."""
    names = _annotated(workspace)
    memory = Memory(workspace)
    missing, altered, doubtful = [], [], []
    for name in names:
        token = _token(f"{memory.data}/{name}")
        if token is None:
            missing.append(name)
        elif every_file or not memory.holds(name, token):
            doubtful.append((name, token))
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        hashes = pool.map(lambda item: _sha256(f"{memory.data}/{item[0]}"), doubtful, chunksize=16)
        for number, ((name, token), sha256) in enumerate(zip(doubtful, hashes, strict=True), start=1):
            if sha256 == promised(name):
                memory.note(name, token)
            else:
                memory.doubt(name)
                altered.append(name)
            if show and number % 100 == 0:
                show(number)
    memory.keep(names)
    return HashCheck(len(names), len(doubtful), tuple(altered), tuple(missing))


def require(workspace: Workspace) -> None:
    """Raise BadData if annotated files are missing or have been altered since they were ingested."""
    hashes = check(workspace)
    if hashes.altered or hashes.missing:
        raise complaint(workspace, hashes)


def complaint(workspace: Workspace, hashes: HashCheck) -> BadData:
    """Return the error that names altered and missing files, with the command that restores them."""
    wrong = []
    if n := len(hashes.altered):
        wrong.append(
            f"{n} {'file was' if n == 1 else 'files were'} altered after ingest ({_listed(workspace, hashes.altered)})"
        )
    if n := len(hashes.missing):
        wrong.append(f"{n} {'file is' if n == 1 else 'files are'} missing ({_listed(workspace, hashes.missing)})")
    return BadData(
        f"{'; '.join(wrong)}, below {workspace.root}.",
        next_step="Restore them from the DVC cache or remote: defectloop audit --hashes --repair. "
        "Files that are in no snapshot must be ingested again.",
    )


class Memory:
    """Remembers checked files by name and metadata. A clone with links to the same files uses the same memory."""

    def __init__(self, workspace: Workspace) -> None:
        self.data = str(workspace.data)
        self.root = str(workspace.root)
        self.folder = workspace.state / "cache" / FOLDER
        self.path = self.folder / hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        self.known = _read(self.path)
        self.others: dict[str, str] | None = None
        self.changed = False

    def holds(self, name: str, token: str) -> bool:
        if name in self.known:
            return self.known[name] == token
        if self.others is None:
            self.others = self._of_others()
        if self.others.get(name) != token:
            return False
        self.known[name], self.changed = token, True
        return True

    def is_intact(self, name: str) -> bool:
        """Return whether the file exists and has the hash in its name. Reads the file if it is not remembered."""
        path = f"{self.data}/{name}"
        token = _token(path)
        if token is None:
            return False
        if self.holds(name, token):
            return True
        if _sha256(path) != promised(name):
            return False
        self.note(name, token)
        return True

    def note(self, name: str, token: str) -> None:
        if int(token.split()[0]) < time.time_ns() - CLOCK_TICK_NS:
            self.known[name], self.changed = token, True

    def remember(self, names: Iterable[str]) -> None:
        """Remember files that were just written from bytes with these hashes, and save the memory."""
        for name in names:
            if token := _token(f"{self.data}/{name}"):
                self.note(name, token)
        self.save()

    def doubt(self, name: str) -> None:
        """Forget the file, so that it is read again next time."""
        self.known[name], self.changed = "", True

    def keep(self, names: Sequence[str]) -> None:
        """Save the memory, without files that are not in `names`."""
        dropped = self.known.keys() - set(names)
        for name in dropped:
            del self.known[name]
        self.changed |= bool(dropped)
        self.save()

    def save(self) -> None:
        if self.changed:
            entries = (f"{name}\0{token}" for name, token in self.known.items())
            write_whole(self.path, os.fsencode("\0".join([self.root, *entries])), durable=False)

    def _of_others(self) -> dict[str, str]:
        hashes: dict[str, str] = {}
        for path in self.folder.glob("*") if self.folder.exists() else ():
            if path != self.path and not path.name.startswith("."):
                hashes |= _read(path)
        return hashes


def _read(path: Path) -> dict[str, str]:
    try:
        _, *entries = os.fsdecode(path.read_bytes()).split("\0")
    except OSError:
        return {}
    return dict(zip(entries[::2], entries[1::2], strict=False))


def _annotated(workspace: Workspace) -> list[str]:
    """Return every annotated file whose name contains its hash."""
    return [name for name in annotation_table.files(workspace.annotations) if len(promised(name)) == 64]


def promised(name: str) -> str:
    """Return the SHA-256 in a file's name."""
    return name.rpartition("/")[2].partition(".")[0]


def _token(path: str) -> str | None:
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return None
    return f"{stat.st_mtime_ns} {stat.st_size} {stat.st_ino}"


def _sha256(path: str) -> str:
    with open(path, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _listed(workspace: Workspace, names: Sequence[str]) -> str:
    """Format the first few files, each with its delivery path."""
    first = names[:LISTED]
    table = annotation_table.load(workspace.annotations)
    delivered_as: dict[str, str] = {}
    for row in table.select(["file", "mask", "source", "source_path"]).to_pylist():
        for column in ("file", "mask"):
            if row[column] in first:
                delivered_as.setdefault(row[column], f"{row['source']}/{row['source_path']}")
    shown = [f"data/{name}, of {delivered_as[name]}" for name in first]
    return "; ".join(shown) + (f"; and {len(names) - LISTED} more" if len(names) > LISTED else "")
