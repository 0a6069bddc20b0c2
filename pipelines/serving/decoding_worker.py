"""The program of a decoding process: `python -m pipelines.serving.decoding_worker SECONDS MEGABYTES SOCKET`.

It reads the length and the bytes of an image from the socket and answers with a header and the pixels, until the socket is
closed. It imports little, writes no file, starts no process, and ends with its parent: the kernel closes the socket, and the
alarm ends a decoding that runs longer than its limit. `--check` instead of the arguments shows why it does not start.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import struct
import sys

LENGTH = struct.Struct("<Q")  # of the image
HEADER = struct.Struct("<IQ")  # lengths of the answer in JSON and of the pixels behind it
READY = b"ready"
DECODERS = ("imagecodecs", "tifffile", "models.images.descriptors", "models.images.high_bit_depth")
ALARM_MARGIN_S = 1.0  # the parent kills first, unless it was killed itself


def answer(data: bytes, memory_limit_mb: int) -> tuple[dict, memoryview]:
    """Return what is answered about an image: shape, dtype and descriptors with the pixels, or the error without any."""
    import numpy as np

    from models.errors import UnreadableImage
    from models.images import codec, descriptors

    try:
        try:
            pixels = np.ascontiguousarray(codec.decode(data))
            described = descriptors.of_pixels(pixels)
        except UnreadableImage as error:
            if isinstance(error.__cause__, MemoryError):
                raise error.__cause__ from None
            return {"error": error.message, "next_step": error.next_step}, memoryview(b"")
    except MemoryError:
        message = f"The image takes more memory to decode than the limit of {memory_limit_mb:,} MB."
        return {"error": message, "next_step": "Split it into smaller images, or scale it down."}, memoryview(b"")
    said = {"shape": pixels.shape, "dtype": pixels.dtype.name, "described": described}
    return said, pixels.data.cast("B")


def main(time_limit_s: float, memory_limit_mb: int, connection: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # sent to the whole service, which answers what it has accepted
    _import_decoders()
    _limit_resources(memory_limit_mb)
    os.write(connection, READY)
    while (length := _read(connection, LENGTH.size)) is not None:
        signal.setitimer(signal.ITIMER_REAL, time_limit_s + ALARM_MARGIN_S)
        data = _read(connection, LENGTH.unpack(length)[0])
        if data is None:
            return
        said, pixels = answer(bytes(data), memory_limit_mb)
        del data
        text = json.dumps(said).encode()
        _write(connection, memoryview(HEADER.pack(len(text), len(pixels)) + text))
        _write(connection, pixels)
        del pixels
        signal.setitimer(signal.ITIMER_REAL, 0)


def _import_decoders() -> None:
    """Import what the first image would otherwise import within its limits."""
    for module in DECODERS:
        importlib.import_module(module)
    from PIL import Image

    Image.init()


def _limit_resources(memory_limit_mb: int) -> None:
    """Limit memory beyond what the program itself takes; no files, no core dumps with the plant's images."""
    with open("/proc/self/statm") as statm:
        own = int(statm.read().split()[0]) * resource.getpagesize()
    for kind, limit in (
        (resource.RLIMIT_AS, own + (memory_limit_mb << 20)),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


def _read(connection: int, count: int) -> bytearray | None:
    """Return `count` bytes, or None at the end of the connection."""
    data = bytearray(count)
    view, done = memoryview(data), 0
    while done < count:
        if not (received := os.readv(connection, [view[done:]])):
            return None
        done += received
    return data


def _write(connection: int, data: memoryview) -> None:
    while data:
        data = data[os.write(connection, data) :]


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        _import_decoders()
    else:
        main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
