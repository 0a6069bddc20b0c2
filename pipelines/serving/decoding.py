"""Decodes images from outside in processes of their own, which are killed when an image takes too long or too much memory.

The image libraries are C code that parses untrusted bytes. A fault in them ends a worker and not the service, and no other
image is affected. A worker (`pipelines.serving.decoding_worker`) starts in a quarter of a second and takes 40 MB.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from models.errors import NotReady, UnreadableImage
from models.images import codec
from pipelines.serving.decoding_worker import HEADER, LENGTH, READY

log = logging.getLogger(__name__)

TIME_LIMIT_S = 5.0
MEMORY_LIMIT_MB = 2048  # twice the pixels of the largest image that `codec` accepts
START_LIMIT_S = 30.0
LONGEST_HEADER = 1 << 16  # bytes
SOCKET_BUFFER = 1 << 20
WORKER = (sys.executable, "-P", "-m", "pipelines.serving.decoding_worker")
# Nothing else of the environment: passwords in it are no business of a process that parses bytes from outside.
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "TMPDIR")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # BLAS would reserve memory for each core
# glibc would give the memory of each picture back and fetch it again, which took longer than describing the picture.
_KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(4 << 20), "MALLOC_TRIM_THRESHOLD_": str(16 << 20)}
_NEXT_STEP = "Send it as PNG, JPEG, TIFF, BMP or WebP of moderate size."


@dataclass(frozen=True)
class Decoded:
    """Pixels H×W×C (C 1 or 3), uint8 or uint16, as `codec.decode` returns them, and `descriptors.of_pixels` of them."""

    pixels: np.ndarray
    described: dict[str, float]


class WorkerEnded(Exception):
    """The worker ended before it answered."""


class DecodingPool:
    """A fixed number of workers, started at once. Thread-safe; `decode` waits for a free worker."""

    def __init__(
        self,
        workers: int = 2,
        *,
        time_limit_s: float = TIME_LIMIT_S,
        memory_limit_mb: int = MEMORY_LIMIT_MB,
        command: Sequence[str] = WORKER,
    ) -> None:
        self._time_limit_s = time_limit_s
        self._command = (*command, str(time_limit_s), str(memory_limit_mb))
        self._free: queue.LifoQueue[_Worker | None] = queue.LifoQueue()  # None: its process could not be started
        self._running: set[_Worker] = set()
        self._lock, self._is_closed = threading.Lock(), False
        for _ in range(workers):
            self._free.put(self._start())

    def __enter__(self) -> DecodingPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers. Calls of `decode` that are under way or come later raise NotReady."""
        with self._lock:
            self._is_closed = True
            for busy in self._running:
                busy.process.kill()
        idle = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._free.get_nowait())
        for worker in idle:
            if worker:
                self._discard(worker)
            self._free.put(None)

    def decode(self, data: bytes) -> Decoded:
        """Decode one image in a worker.

        Raises UnreadableImage for bad bytes, and for an image that exceeds the limits of time or memory or crashes its
        worker. A worker may also be killed for another reason (the system is short of memory), so such an image gets a
        second one. Raises NotReady if no worker can be started.
        """
        worker = self._free.get()
        try:
            for is_last in (False, True):
                worker = worker or self._start()
                try:
                    return worker.decode(data, self._time_limit_s)
                except UnreadableImage:
                    raise
                except BaseException as error:  # its connection may hold half an answer
                    code = self._discard(worker)
                    worker = None
                    if isinstance(error, TimeoutError) or code == -signal.SIGALRM:
                        raise self._too_slow() from None
                    if not isinstance(error, WorkerEnded):
                        raise
                    log.warning("A process that decodes images ended (%s): %s.", _ending(code), error)
                    if is_last and not self._is_closed:
                        message = f"The decoder crashed on this image ({_ending(code)})."
                        raise UnreadableImage(message, next_step=_NEXT_STEP) from error
            raise self._stopping()
        finally:
            self._free.put(worker or self._replacement())

    def process_ids(self) -> list[int]:
        with self._lock:
            return [worker.process.pid for worker in self._running]

    def _start(self) -> _Worker:
        """Start a worker. Raises NotReady."""
        with self._lock:
            if self._is_closed:
                raise self._stopping()
            try:
                worker = _Worker(self._command)
            except OSError as error:
                raise NotReady(
                    f"No process can be started to decode images: {error.strerror}.",
                    next_step="Free memory, or raise the limits of processes and open files (ulimit -u, -n).",
                ) from error
            self._running.add(worker)
            return worker

    def _replacement(self) -> _Worker | None:
        try:
            return self._start()
        except NotReady as error:
            if not self._is_closed:
                log.error("%s", error)
            return None

    def _discard(self, worker: _Worker) -> int:
        """Kill the worker. Returns its exit code."""
        with self._lock:
            self._running.discard(worker)
        return worker.kill()

    def _too_slow(self) -> UnreadableImage:
        return UnreadableImage(
            f"The image takes longer to decode than the limit of {self._time_limit_s:g} s.", next_step=_NEXT_STEP
        )

    @staticmethod
    def _stopping() -> NotReady:
        return NotReady("The service is stopping.", next_step="Send the image again.")


class _Worker:
    """A process, and the socket over which it gets images and answers. One caller at a time."""

    def __init__(self, command: Sequence[str]) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        with theirs:
            try:
                self.process = subprocess.Popen(
                    (*command, str(theirs.fileno())),
                    pass_fds=(theirs.fileno(),),
                    env={name: os.environ[name] for name in PASSED_ON if name in os.environ}
                    | _ONE_THREAD
                    | _KEPT_MEMORY,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # C libraries write warnings about the image's content
                    start_new_session=True,  # Ctrl-C is for the service, which answers what it has accepted
                )
            except BaseException:
                ours.close()
                raise
        self.connection, self.is_ready = ours, False

    def kill(self) -> int:
        self.process.kill()
        self.connection.close()
        return self.process.wait()

    def decode(self, data: bytes, limit_s: float) -> Decoded:
        """Raises WorkerEnded, TimeoutError, NotReady, and UnreadableImage if the worker says so."""
        self._wait_until_ready()
        deadline = time.monotonic() + limit_s
        self._send(LENGTH.pack(len(data)), deadline)
        self._send(data, deadline)
        length, pixel_bytes = HEADER.unpack(self._received(HEADER.size, deadline))
        if length > LONGEST_HEADER:
            raise WorkerEnded("its answer is longer than any answer")
        text = self._received(length, deadline)
        try:
            answer = json.loads(text)
            if "error" in answer:
                raise UnreadableImage(answer["error"], next_step=answer["next_step"])
            pixels = _empty(answer, pixel_bytes)
            described = {str(name): float(value) for name, value in answer["described"].items()}
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise WorkerEnded(f"its answer makes no sense: {error}") from error
        self._receive_into(pixels.data.cast("B"), deadline)
        return Decoded(pixels, described)

    def _wait_until_ready(self) -> None:
        if self.is_ready:
            return
        try:
            self._received(len(READY), time.monotonic() + START_LIMIT_S)
        except (WorkerEnded, TimeoutError) as error:
            raise NotReady(
                "The process that decodes images does not start.",
                next_step=f"Look at what it says: {' '.join(WORKER)} --check",
            ) from error
        self.is_ready = True

    def _send(self, data: bytes, deadline: float) -> None:
        try:
            self.connection.settimeout(_left(deadline))
            self.connection.sendall(data)
        except TimeoutError:
            raise
        except OSError as error:
            raise WorkerEnded(str(error)) from error

    def _received(self, count: int, deadline: float) -> bytearray:
        received = bytearray(count)
        self._receive_into(memoryview(received), deadline)
        return received

    def _receive_into(self, target: memoryview, deadline: float) -> None:
        done = 0
        try:
            while done < len(target):
                self.connection.settimeout(_left(deadline))
                if not (count := self.connection.recv_into(target[done:])):
                    raise WorkerEnded("the connection was closed")
                done += count
        except TimeoutError:
            raise
        except OSError as error:
            raise WorkerEnded(str(error)) from error


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _empty(answer: dict[str, Any], pixel_bytes: int) -> np.ndarray:
    """Return an array for the pixels that the worker announces. Raises ValueError if `codec.decode` returns none such."""
    height, width, channels = (int(side) for side in answer["shape"])
    dtype = np.dtype(answer["dtype"])
    fits = 0 < height * width <= codec.MAX_PIXELS and channels in (1, 3) and dtype in (np.uint8, np.uint16)
    if not fits or height * width * channels * dtype.itemsize != pixel_bytes:
        raise ValueError(f"{pixel_bytes} bytes of {answer['dtype']} for {answer['shape']}")
    return np.empty((height, width, channels), dtype)


def _ending(code: int) -> str:
    return signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
