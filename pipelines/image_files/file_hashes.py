"""Whether the files of `data/` still hold the bytes that they are named after: `images/ab/SHA256.png`, `masks/…`.

What was hashed once is remembered by size, time and inode, so that asking again costs a look at each file. Who sets a
file's time back after changing it is found by reading everything: `defectloop audit --hashes`.
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

FOLDER = "file-hashes"  # in the state: losing it costs time and nothing else
CLOCK_TICK_NS = 50_000_000  # a file changed again within the file system's clock tick would look the same
LISTED = 5


@dataclass(frozen=True)
class HashCheck:
    """Files that the annotations name, below `data/`, in their order. `hashed` of them were read now."""

    checked: int
    hashed: int
    altered: tuple[str, ...]
    missing: tuple[str, ...]


def check(workspace: Workspace, *, every_file: bool = False, show: Callable[[int], None] | None = None) -> HashCheck:
    """Compare each annotated image and mask with the hash in its name; with `every_file` even where nothing changed."""
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
    """Raise BadData, naming them, where annotated files are missing or hold other bytes than those that were ingested."""
    hashes = check(workspace)
    if hashes.altered or hashes.missing:
        raise complaint(workspace, hashes)


def complaint(workspace: Workspace, hashes: HashCheck) -> BadData:
    """What is wrong with these files, and the way to the originals."""
    wrong = []
    if n := len(hashes.altered):
        verb = "file does" if n == 1 else "files do"
        wrong.append(f"{n} {verb} not hold the bytes that were ingested ({_listed(workspace, hashes.altered)})")
    if n := len(hashes.missing):
        wrong.append(f"{n} {'file is' if n == 1 else 'files are'} missing ({_listed(workspace, hashes.missing)})")
    return BadData(
        f"{'; '.join(wrong)}, below {workspace.root}.",
        next_step="Take the originals from the DVC cache or remote: defectloop audit --hashes --repair. "
        "What no snapshot holds comes back by ingesting its source again.",
    )


class Memory:
    """What was hashed, by the file's look and its name below `data/`; a clone with links to the same files shares it."""

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
        """Whether the file is there and holds what its name promises; read where nothing is known of it."""
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
        """Note and write down files that were made just now from bytes that their names were made of."""
        for name in names:
            if token := _token(f"{self.data}/{name}"):
                self.note(name, token)
        self.save()

    def doubt(self, name: str) -> None:
        """Read it again next time, whatever anybody remembers."""
        self.known[name], self.changed = "", True

    def keep(self, names: Sequence[str]) -> None:
        """Write it down, without files that are not among these."""
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
    """Every file that a row names and whose own name says its hash."""
    return [name for name in annotation_table.files(workspace.annotations) if len(promised(name)) == 64]


def promised(name: str) -> str:
    """The SHA-256 that a file's name says."""
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
    """The first few, each with the name that it came under."""
    first = names[:LISTED]
    table = annotation_table.load(workspace.annotations)
    came: dict[str, str] = {}
    for row in table.select(["file", "mask", "source", "source_path"]).to_pylist():
        for column in ("file", "mask"):
            if row[column] in first:
                came.setdefault(row[column], f"{row['source']}/{row['source_path']}")
    shown = [f"data/{name}, of {came[name]}" for name in first]
    return "; ".join(shown) + (f"; and {len(names) - LISTED} more" if len(names) > LISTED else "")
