"""Images on their way to the image store. An image is durable on this disk before its verdict is answered.

A local store is written directly. An image for a remote store is written to a folder first, because a verdict must not wait
for a network; a thread delivers it within moments, or when the store answers again.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from models.errors import DefectloopError, NotReady, Unreachable
from models.files import PARTIAL, remove_partial, write_whole
from pipelines.image_files.image_store import ImageStore, LocalStore

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True)
class Waiting:
    """What waits for delivery, and why the last one failed, or None."""

    images: int
    bytes: int
    problem: str | None


class Spool:
    """Keeps images durably and delivers them to the store. Thread-safe. Images of a killed process are delivered too."""

    def __init__(self, store: ImageStore, folder: Path, *, largest_bytes: int) -> None:
        self.store, self.folder, self.largest_bytes = store, folder, largest_bytes
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._stopping = threading.Event()
        self._problem: str | None = None
        self._sizes: dict[str, int] = {}
        if folder.is_dir():
            remove_partial(folder)
            self._sizes = {
                path.name: path.stat().st_size for path in folder.iterdir() if not path.name.endswith(PARTIAL)
            }
        self._total = sum(self._sizes.values())
        self._thread = threading.Thread(target=self._deliver, name="delivers images", daemon=True)
        self._thread.start()

    def put(self, data: bytes, image: str | None = None) -> str:
        """Return the image's SHA-256 once it is durable. `image` is this SHA-256, if it is known already.

        Raises Unreachable if neither store nor spool can take it.
        """
        if isinstance(self.store, LocalStore):
            return self.store.put(data, image)
        image = image or hashlib.sha256(data).hexdigest()
        with self._lock:
            if image in self._sizes:
                return image
            if self._total + len(data) > self.largest_bytes:
                raise Unreachable(
                    f"{len(self._sizes)} images wait for the image store, and the spool {self.folder} is full. "
                    f"The image was not inspected. {self._problem or ''}".strip(),
                    next_step="Check DEFECTLOOP_STORE, or raise serve.spool_mb in service.yaml.",
                )
        try:
            write_whole(self.folder / image, data)
        except OSError as error:
            raise Unreachable(
                f"The spool {self.folder} cannot be written: {error.strerror}. The image was not inspected.",
                next_step="Check the free disk space and the permissions.",
            ) from error
        with self._lock:
            if image not in self._sizes:
                self._sizes[image] = len(data)
                self._total += len(data)
        self._arrived.set()
        return image

    def get(self, image: str) -> bytes:
        """Return an image from the spool or the store. Raises NotReady for an unknown one, and Unreachable."""
        try:
            return (self.folder / image).read_bytes()
        except FileNotFoundError:
            return self.store.get(image)

    def waiting(self) -> Waiting:
        with self._lock:
            return Waiting(len(self._sizes), self._total, self._problem)

    def close(self) -> None:
        """Stop after the delivery in progress. What is left is delivered after the next start."""
        self._stopping.set()
        self._arrived.set()
        self._thread.join(LONGEST_PAUSE_S)

    def _deliver(self) -> None:
        pause_s = 1.0
        while not self._stopping.is_set():
            self._arrived.clear()
            with self._lock:
                images = list(self._sizes)
            if not images:
                self._arrived.wait()
                continue
            try:
                for image in images:
                    if self._stopping.is_set():
                        return
                    self._deliver_one(image)
                pause_s = 1.0
                self._say(None)
            except (DefectloopError, OSError) as error:
                self._say(error.message if isinstance(error, DefectloopError) else str(error))
                self._stopping.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _deliver_one(self, image: str) -> None:
        path = self.folder / image
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != image:
            raise NotReady(f"The spooled image {path} was altered.", next_step="Restore it, or move it away.")
        self.store.put(data, image)
        path.unlink(missing_ok=True)
        with self._lock:
            self._total -= self._sizes.pop(image, 0)

    def _say(self, problem: str | None) -> None:
        """Remember and log a change of state, but not each failed attempt."""
        if problem and not self._problem:
            log.warning("Images wait in %s: %s", self.folder, problem)
        elif self._problem and not problem:
            log.info("The image store answers again; all waiting images are delivered (%s).", time.strftime("%H:%M:%S"))
        self._problem = problem
