"""A decoding process in which some images do what a fault in an image library does; all others are decoded."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from models.images import codec
from pipelines.serving import decoding_worker

decode = codec.decode


def odd(data: bytes) -> np.ndarray:
    what, _, of = data.partition(b" ")
    if what == b"hang":
        time.sleep(60)
    if what == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == b"killed-once" and not Path(os.fsdecode(of)).exists():
        Path(os.fsdecode(of)).mkdir()
        os.kill(os.getpid(), signal.SIGKILL)
    if what == b"hoard":
        held = [np.empty(1 << 27, np.uint8) for _ in range(64)]
        raise AssertionError(len(held))
    if what == b"write":
        Path(os.fsdecode(of)).write_text("a file")
    if what == b"secret":
        return np.full((1, 1, 1), "DEFECTLOOP_TEST_SECRET" in os.environ, np.uint8)
    return decode(data) if what.startswith(b"\x89PNG") else np.zeros((2, 3, 1), np.uint8)


codec.decode = odd
decoding_worker.main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
