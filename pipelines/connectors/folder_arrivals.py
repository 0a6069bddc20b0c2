"""Which files of a watched folder are complete, and how a request for one is identified. Pure."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

EMPTY_S = 30.0  # an empty file is usually one that is about to be written


@dataclass(frozen=True)
class Stamp:
    """What changes when a file is written."""

    size: int
    mtime_ns: int
    inode: int


class Arrivals:
    """The files of a folder, seen again and again. A file is complete when it has not changed for `settle_s` seconds.

    With a `marker` it is complete when a file with its name and the marker at the end exists.
    """

    def __init__(self, settle_s: float, marker: str | None) -> None:
        self.settle_s, self.marker = settle_s, marker
        self._since: dict[str, tuple[Stamp, float]] = {}

    def complete(self, found: Mapping[str, Stamp], others: Collection[str], now: float) -> tuple[list[str], bool]:
        """Return the complete files, the oldest first, and whether others are still being written.

        `found` are the images, `others` the names of all other files, `now` any steady clock in seconds.
        """
        known = self._since
        self._since = {
            path: known[path] if path in known and known[path][0] == stamp else (stamp, now)
            for path, stamp in found.items()
        }
        if self.marker is not None:
            ready = [path for path in found if path + self.marker in others]
            return sorted(ready, key=lambda path: (found[path].mtime_ns, path)), False
        ready = [path for path, (stamp, since) in self._since.items() if now - since >= self._needed_s(stamp)]
        ready.sort(key=lambda path: (found[path].mtime_ns, path))
        return ready, len(ready) < len(found)

    def _needed_s(self, stamp: Stamp) -> float:
        return self.settle_s if stamp.size else max(self.settle_s, EMPTY_S)


def is_image(name: str, patterns: Collection[str]) -> bool:
    """Return whether a file's name matches a pattern, whatever its case. Hidden files are being written by someone."""
    return not name.startswith(".") and any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def key(connector: str, path: str, stamp: Stamp, data: bytes) -> str:
    """Return the idempotency key of a file: the same file is the same request after a crash, and the same name with other
    bytes, or written again, is another."""
    told = b"\0".join(
        (connector.encode(), os.fsencode(path), str(stamp.mtime_ns).encode(), hashlib.sha256(data).digest())
    )
    return f"folder:{hashlib.sha256(told).hexdigest()[:40]}"
