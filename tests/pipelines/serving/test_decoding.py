"""Images from outside are decoded as everywhere else, and what they do to a decoder stays in its process."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from models.errors import NotReady, UnreadableImage
from models.images import codec, descriptors
from pipelines.serving.decoding import DecodingPool
from tests.behaviour.processes import wait

ODD = (sys.executable, str(Path(__file__).with_name("odd_worker.py")))
LIMIT_S = 2.0


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodingPool]:
    with DecodingPool(2) as opened:
        yield opened


@pytest.fixture(scope="module")
def odd_pool() -> Iterator[DecodingPool]:
    with DecodingPool(2, time_limit_s=LIMIT_S, memory_limit_mb=512, command=ODD) as opened:
        yield opened


def picture(shape: tuple[int, ...] = (40, 30, 3), dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


@pytest.mark.parametrize("shape", [(300, 300, 1), (300, 300, 3), (1, 1, 1), (900, 1200, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_and_descriptors_are_those_of_the_decoder(pool: DecodingPool, shape: tuple, dtype: type) -> None:
    image = picture(shape, dtype)
    decoded = pool.decode(codec.encode_png(image))
    assert decoded.pixels.dtype == dtype
    np.testing.assert_array_equal(decoded.pixels, image)
    assert decoded.described == descriptors.of_pixels(image)


def test_images_turned_by_exif_arrive_upright(pool: DecodingPool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    sink = io.BytesIO()
    Image.fromarray(picture()).save(sink, "PNG", exif=exif)
    np.testing.assert_array_equal(pool.decode(sink.getvalue()).pixels, np.rot90(picture(), -1))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, body: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff_bomb() -> bytes:
    """A TIFF of a hundred bytes that states 200,000 × 200,000 pixels in one compressed strip."""
    #        width, height, bits, compression (deflate), photometric, strip offset, rows per strip, strip bytes
    tags = {256: 200_000, 257: 200_000, 258: 8, 259: 8, 262: 1, 273: 110, 278: 200_000, 279: 20}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + zlib.compress(bytes(5000))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"no image", "not a supported image format"),
        (codec.encode_png(picture())[:500], "cannot be decoded"),
        (png(100_000, 100_000, zlib.compress(bytes(1000))), "limit"),
        (tiff_bomb(), "more than the limit"),
    ],
    ids=["empty", "text", "cut off", "PNG bomb", "TIFF bomb"],
)
def test_bad_images_are_refused_by_a_worker_that_goes_on(pool: DecodingPool, data: bytes, says: str) -> None:
    before = pool.process_ids()
    with pytest.raises(UnreadableImage, match=says) as raised:
        pool.decode(data)
    assert raised.value.next_step
    assert pool.process_ids() == before


def test_an_image_that_needs_too_much_memory_names_the_limit() -> None:
    """13,000 × 10,000 white pixels are 130 kB as a file and 130 MB decoded, fewer pixels than the limit."""
    compressor = zlib.compressobj()
    rows = [compressor.compress(bytes(13_001)) for _ in range(10_000)]
    bomb = png(13_000, 10_000, b"".join(rows) + compressor.flush())
    assert len(bomb) < 200_000
    with DecodingPool(1, memory_limit_mb=100) as pool:
        with pytest.raises(UnreadableImage, match="more memory to decode than the limit of 100 MB"):
            pool.decode(bomb)
        assert pool.decode(codec.encode_png(picture())).pixels.shape == (40, 30, 3)


def test_a_hoarding_decoder_is_stopped_at_the_limit(odd_pool: DecodingPool) -> None:
    with pytest.raises(UnreadableImage, match="limit of 512 MB"):
        odd_pool.decode(b"hoard")


def test_an_image_that_takes_too_long_names_the_limit_and_its_worker_is_replaced(odd_pool: DecodingPool) -> None:
    before = set(odd_pool.process_ids())
    started = time.monotonic()
    with pytest.raises(UnreadableImage, match="longer to decode than the limit of 2 s"):
        odd_pool.decode(b"hang")
    assert time.monotonic() - started < LIMIT_S + 5  # a new worker may have to start first
    after = set(odd_pool.process_ids())
    assert len(after) == 2
    assert len(before & after) == 1
    assert not any(psutil.pid_exists(gone) for gone in before - after)


def test_an_image_that_crashes_its_worker_is_unreadable_and_disturbs_no_other(odd_pool: DecodingPool) -> None:
    good = codec.encode_png(picture())
    with ThreadPoolExecutor(6) as threads:
        answers = [threads.submit(odd_pool.decode, b"crash" if number % 3 == 0 else good) for number in range(18)]
    for number, answered in enumerate(answers):
        if number % 3 == 0:
            with pytest.raises(UnreadableImage, match=r"crashed on this image \(SIGSEGV\)"):
                answered.result()
        else:
            np.testing.assert_array_equal(answered.result().pixels, picture())


def test_an_image_whose_worker_was_killed_by_something_else_gets_another(
    odd_pool: DecodingPool, tmp_path: Path
) -> None:
    assert odd_pool.decode(b"killed-once " + os.fsencode(tmp_path / "it")).pixels.shape == (2, 3, 1)


def test_workers_killed_while_idle_are_replaced_unnoticed(odd_pool: DecodingPool) -> None:
    for _ in range(3):
        for process_id in odd_pool.process_ids():
            os.kill(process_id, signal.SIGKILL)
        with ThreadPoolExecutor(4) as threads:
            assert len(list(threads.map(odd_pool.decode, [codec.encode_png(picture())] * 8))) == 8


def test_a_worker_writes_no_files_and_knows_no_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFECTLOOP_TEST_SECRET", "hunter2")
    with DecodingPool(1, command=ODD) as pool:
        assert pool.decode(b"secret").pixels.max() == 0
        with pytest.raises(UnreadableImage):
            pool.decode(b"write " + os.fsencode(tmp_path / "file"))
    assert not (tmp_path / "file").exists() or not (tmp_path / "file").read_bytes()


def test_a_closed_pool_leaves_no_process_and_calls_no_image_unreadable() -> None:
    pool = DecodingPool(2, time_limit_s=30, command=ODD)
    assert pool.decode(codec.encode_png(picture())).pixels.shape == (40, 30, 3)
    process_ids = pool.process_ids()
    raised: list[BaseException] = []

    def hang() -> None:
        try:
            pool.decode(b"hang")
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=hang) for _ in range(3)]  # the third waits for a worker
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    pool.close()
    for thread in threads:
        thread.join(10)
    assert [type(error) for error in raised] == [NotReady] * 3
    assert pool.process_ids() == []
    assert not any(psutil.pid_exists(one) for one in process_ids)
    with pytest.raises(NotReady, match="stopping"):
        pool.decode(b"")


def test_a_worker_that_cannot_start_is_no_fault_of_the_image() -> None:
    with (
        DecodingPool(1, command=(sys.executable, "-c", "import nothing_of_this_name")) as pool,
        pytest.raises(NotReady, match="does not start"),
    ):
        pool.decode(codec.encode_png(picture()))


def test_the_pool_does_not_start_what_inspection_starts() -> None:
    """A worker has to be small: several run beside the service."""
    asked = "import sys, pipelines.serving.decoding_worker as worker; worker._import_decoders(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"onnxruntime", "scipy", "sqlalchemy", "fastapi", "pydantic", "torch", "multiprocessing.pool"}
    assert not heavy & set(loaded)


PARENT = """
import sys, time
sys.path.insert(0, "")
from pipelines.serving.decoding import DecodingPool
from tests.pipelines.serving.test_decoding import ODD
import threading
pool = DecodingPool(2, time_limit_s=2, command=ODD)
pool.decode(b"x")
threading.Thread(target=pool.decode, args=[b"hang"]).start()
print(*pool.process_ids(), flush=True)
time.sleep(60)
"""


def test_workers_end_with_a_killed_parent_whatever_they_are_doing() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        workers = [psutil.Process(int(word)) for word in parent.stdout.readline().split()]
        assert len(workers) == 2
        parent.kill()
    assert wait(lambda: not any(worker.is_running() for worker in workers), 10)
