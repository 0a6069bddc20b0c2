"""Peak memory of this process and its children, sampled in the background."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

INTERVAL_S = 0.5


class MemoryMeter:
    """Sums the memory of the process tree. On Linux, pages that processes share are counted once (PSS).

    Reading the PSS takes the kernel some 30 ms per GB. It is read only when the resident memory, which counts shared pages
    several times, is higher than at every sample before.
    """

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._largest = 0  # resident memory, in bytes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> MemoryMeter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        root = psutil.Process()
        while not self._stop.wait(INTERVAL_S):
            processes = (root, *root.children(recursive=True))
            resident = sum(_bytes(process, shared_once=False) for process in processes)
            if resident > self._largest:
                self._largest = resident
                total = sum(_bytes(process, shared_once=True) for process in processes)
                self.peak_mb = max(self.peak_mb, total / 2**20)


def _bytes(process: psutil.Process, *, shared_once: bool) -> int:
    try:
        memory = process.memory_full_info() if shared_once else process.memory_info()
        return int(getattr(memory, "pss", 0) or memory.rss)
    except psutil.Error:  # the process ended after it was listed
        return 0
