"""The processor's cores, which all lines of the service share for inference."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator


class Cores:
    """As many inferences at once as there are cores. A request that is alone in the service may use all of them."""

    def __init__(self, count: int | None = None) -> None:
        self.count = count or os.cpu_count() or 1
        self._free = threading.Semaphore(self.count)
        self._lock = threading.Lock()
        self._present = 0

    @contextlib.contextmanager
    def entered(self) -> Iterator[bool]:
        """Count a request as present during the block. Yields whether it is alone."""
        with self._lock:
            self._present += 1
            alone = self._present == 1
        try:
            yield alone
        finally:
            with self._lock:
                self._present -= 1

    def acquire(self) -> None:
        """Wait for a free core."""
        self._free.acquire()

    def release(self) -> None:
        self._free.release()
