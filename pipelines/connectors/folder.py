"""Watched folders: a camera writes images, each is inspected once and moved to `done/` or `failed/` with the answer
beside it.

Notifications of the file system only make it faster: they are lost on network drives, so the folder is also listed
regularly. A file is moved after its answer. Killed in between, the file is sent again under the same key and gets the
same inspection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from watchfiles import awatch

from models import names
from models.errors import BadInput, DefectloopError, NotReady
from models.files import write_whole
from pipelines.connectors import folder_arrivals
from pipelines.connectors.config import Folder
from pipelines.connectors.folder_arrivals import Arrivals, Stamp
from pipelines.connectors.station import Image, Station, Stopped
from pipelines.part_names import PartPattern

DONE, FAILED = "done", "failed"
AT_ONCE = 4  # images on their way to the service
NOTICE_MS = 50
LONGEST_NAME = 200  # bytes


class Unsettled(Exception):
    """A file changed while it was read."""


class FolderConnector:
    """One watched folder. `pattern` finds part and view in a file's path."""

    def __init__(self, name: str, config: Folder, root: Path, pattern: PartPattern | None, station: Station) -> None:
        self.name, self.config, self.pattern, self.station = f"folders.{name}", config, pattern, station
        self.folder = (root / config.path).resolve()
        self._arrivals = Arrivals(config.settle_s, config.marker)
        self._changed = asyncio.Event()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._complaints: dict[str, str] = {}

    async def run(self) -> None:
        await self.station.keep(self.name, self._watched, (OSError, DefectloopError))

    async def _watched(self) -> None:
        await asyncio.to_thread(self._prepare)
        self.station.state(self.name, f"watching {self.folder}")
        notified = asyncio.create_task(self._notified())
        try:
            while not self.station.stopping.is_set():
                self._changed.clear()
                being_written = await self._round()
                soon = min(max(self.config.settle_s, 0.05), self.config.rescan_s)
                await self.station.first_of(soon if being_written else self.config.rescan_s, self._changed)
        finally:
            notified.cancel()

    def _prepare(self) -> None:
        if not self.folder.is_dir():
            raise NotReady(f"{self.folder} is not a folder", next_step="Create it, or correct connectors.folders.")
        for name in (DONE, FAILED):
            (self.folder / name).mkdir(exist_ok=True)

    async def _notified(self) -> None:
        """Wake the loop when something changes below the folder."""
        own = tuple(str(self.folder / name) + os.sep for name in (DONE, FAILED))
        try:
            async for _ in awatch(
                self.folder,
                watch_filter=lambda _, path: not path.startswith(own),
                debounce=NOTICE_MS,
                step=NOTICE_MS,
                rust_timeout=1000,
                stop_event=self.station.stopping,
                ignore_permission_denied=True,
            ):
                self._changed.set()
        except Exception as error:  # too many watches, an unmounted drive: the folder is listed regularly all the same
            self.station.state(self.name, f"looks every {self.config.rescan_s:g} s, without notifications: {error}")

    async def _round(self) -> bool:
        """Inspect every complete file. Returns whether others are still being written."""
        found, others = await asyncio.to_thread(self._listed)
        ready, being_written = self._arrivals.complete(found, others, time.monotonic())
        self._complaints = {path: reason for path, reason in self._complaints.items() if path in found}
        results = await asyncio.gather(*(self._handled(path) for path in ready), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return being_written

    def _listed(self) -> tuple[dict[str, Stamp], set[str]]:
        """Return the images below the folder with their stamps, and all other files, by path. Links are not followed."""
        found: dict[str, Stamp] = {}
        others: set[str] = set()
        for entry in _files(self.folder, (DONE, FAILED)):
            path = os.path.relpath(entry.path, self.folder)
            if not folder_arrivals.is_image(entry.name, self.config.patterns):
                others.add(path)
                continue
            try:
                found[path] = _stamp(entry.stat(follow_symlinks=False))
            except FileNotFoundError:
                continue
        return found, others

    async def _handled(self, path: str) -> None:
        """Read a file, have it inspected, and move it away with its answer."""
        async with self._slots:
            if self.station.stopping.is_set():
                return
            try:
                data, stamp = await asyncio.to_thread(self._read, path)
            except (FileNotFoundError, Unsettled):
                return  # taken away or written again: it is looked at in the next round
            except BadInput as error:
                await self._moved(path, None, FAILED, _refusal(error))
                return
            except OSError as error:
                self._complain(path, f"cannot be read: {error.strerror}")
                return
            try:
                answer = await self.station.inspect(self._image(path, stamp, data))
            except Stopped:
                return
            except BadInput as error:
                await self._moved(path, stamp, FAILED, _refusal(error))
            else:
                await self._moved(path, stamp, DONE, answer)

    def _read(self, path: str) -> tuple[bytes, Stamp]:
        number = os.open(self.folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(number, "rb") as source:
            before = os.fstat(number)
            if not stat.S_ISREG(before.st_mode):
                raise FileNotFoundError
            if before.st_size > self.config.largest_mb * 1e6:
                raise BadInput(
                    f"The file has {before.st_size / 1e6:.1f} MB, more than {self.config.largest_mb:g} MB.",
                    next_step="Write smaller images, or raise largest_mb in service.yaml.",
                )
            if not before.st_size:
                raise BadInput("The file is empty.", next_step="Check the program that writes it.")
            data = source.read()
            if _stamp(os.fstat(number)) != _stamp(before):
                raise Unsettled
        return data, _stamp(before)

    def _image(self, path: str, stamp: Stamp, data: bytes) -> Image:
        name = names.shown(path)
        found = self.pattern.find(name) if self.pattern else None
        return Image(
            data,
            folder_arrivals.key(self.name, path, stamp, data),
            part=found.part if found else None,
            view=(found.view if found else None) or self.config.view,
            slice=self.config.slice,
            file_name=name,
        )

    async def _moved(self, path: str, stamp: Stamp | None, where: str, answer: dict[str, Any]) -> None:
        try:
            await asyncio.to_thread(self._move, path, stamp, where, answer)
        except OSError as error:  # it is sent again under the same key, and moved when that is possible
            self._complain(path, f"was inspected, but cannot be moved to {where}/: {error.strerror}")

    def _move(self, path: str, stamp: Stamp | None, where: str, answer: dict[str, Any]) -> None:
        """Write the answer, then move the file beside it. A name that is taken gets a number."""
        source = self.folder / path
        target = _free(self.folder / where / path)
        # Removed instead of moved, the file needs no answer: it is in the ledger.
        kept = where == FAILED or self.config.keep_done
        if kept:
            write_whole(target.with_name(f"{target.name}.json"), json.dumps(answer, indent=1).encode(), durable=False)
        if stamp is not None and _stamp(source.lstat()) != stamp:
            return  # another image has taken its name meanwhile, and waits for its own inspection
        if kept:
            source.rename(target)
        else:
            source.unlink()
        if self.config.marker:
            source.with_name(source.name + self.config.marker).unlink(missing_ok=True)

    def _complain(self, path: str, reason: str) -> None:
        """Say once what is wrong with a file that stays."""
        if self._complaints.get(path) != reason:
            self._complaints[path] = reason
            self.station.state(f"{self.name} {names.shown(path)}", reason)


def _files(folder: Path, passed_over: Collection[str]) -> Iterator[os.DirEntry[str]]:
    """Yield the regular files below a folder. Links, pipes and devices are passed over. Raises OSError for the folder
    itself, whose drive may be gone."""
    for entry in list(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in passed_over:
                with contextlib.suppress(OSError):  # removed meanwhile, or not ours to read
                    yield from _files(Path(entry.path), ())
        elif entry.is_file(follow_symlinks=False):
            yield entry


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino)


def _free(target: Path) -> Path:
    """Return the path, or else one with a number, at which no file is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if len(os.fsencode(target.name)) > LONGEST_NAME:  # the answer beside it has a longer one
        target = target.with_name(names.for_file(names.shown(target.name)))
    path, number = target, 1
    while os.path.lexists(path):
        number += 1
        path = target.with_name(f"{target.stem}-{number}{target.suffix}")
    return path


def _refusal(error: DefectloopError) -> dict[str, Any]:
    return {"error": {"message": error.message, "next_step": error.next_step}}
