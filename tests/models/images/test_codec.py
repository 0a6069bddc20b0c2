import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.errors import UnreadableImage
from models.images import codec


def encoded(array: np.ndarray, format_: str = "PNG", **options: object) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(array).save(sink, format=format_, **options)
    return sink.getvalue()


@pytest.fixture
def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)


def test_grey_image_keeps_one_channel(grey: np.ndarray) -> None:
    decoded = codec.decode(encoded(grey))
    assert decoded.shape == (40, 30, 1)
    assert np.array_equal(decoded[..., 0], grey)


def test_sixteen_bit_grey_is_kept_whole() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (20, 10)).astype(np.uint16)
    data = encoded(deep)
    assert np.array_equal(codec.decode(data)[..., 0], deep)
    assert codec.facts(data) == codec.ImageFacts(10, 20, 1, 16, "PNG")


def test_sixteen_bit_tiff_is_kept_whole() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (20, 10)).astype(np.uint16)
    assert np.array_equal(codec.decode(encoded(deep, "TIFF"))[..., 0], deep)


def test_alpha_is_dropped(grey: np.ndarray) -> None:
    rgba = np.dstack([grey, grey, grey, np.zeros_like(grey)])
    assert np.array_equal(codec.decode(encoded(rgba)), rgba[..., :3])


def test_palette_becomes_colour(grey: np.ndarray) -> None:
    sink = io.BytesIO()
    Image.fromarray(grey).convert("P").save(sink, format="PNG")
    assert codec.decode(sink.getvalue()).shape == (40, 30, 3)


def test_black_and_white_becomes_eight_bit(grey: np.ndarray) -> None:
    assert set(np.unique(codec.decode(encoded(grey > 127)))) == {0, 255}


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_truncated_file_is_refused(grey: np.ndarray, format_: str) -> None:
    data = encoded(grey, format_)
    with pytest.raises(UnreadableImage):
        codec.decode(data[: len(data) * 2 // 3])


@pytest.mark.parametrize("data", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n"])
def test_bytes_that_are_no_image_are_refused(data: bytes) -> None:
    with pytest.raises(UnreadableImage) as error:
        codec.facts(data)
    assert error.value.next_step


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "a17.png"
    bad.write_bytes(b"x")
    with pytest.raises(UnreadableImage, match=r"a17\.png"):
        codec.read(bad)
    with pytest.raises(UnreadableImage, match=r"b\.png"):
        codec.read(tmp_path / "b.png")


def test_overlay_leaves_cold_areas_as_they_are(grey: np.ndarray) -> None:
    heatmap = np.zeros((4, 4), dtype=np.float32)
    heatmap[3, 3] = 1
    over = codec.overlay(grey[..., None], heatmap)
    assert over.shape == (40, 30, 3)
    assert np.array_equal(over[:15, :10, 0], grey[:15, :10])
    assert over[39, 29, 0] > over[39, 29, 2]


def test_png_round_trip(grey: np.ndarray) -> None:
    assert np.array_equal(codec.decode(codec.encode_png(grey[..., None]))[..., 0], grey)
