"""Every depth, layout and orientation comes back as it was seen; what can't is refused, whatever the bytes are."""

from __future__ import annotations

import io
import struct
import time
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageOps

from models.detector import preprocessing, runtime
from models.errors import UnreadableImage
from models.images import codec

GREY = np.random.default_rng(0).integers(0, 65536, (21, 17)).astype(np.uint16)
GREY[0, :2] = 0, 65535
COLOUR = np.random.default_rng(1).integers(0, 65536, (21, 17, 3)).astype(np.uint16)
FORMATS = {"PNG": {}, "JPEG": {}, "TIFF": {}, "BMP": {}, "WEBP": {"lossless": True}}


def tiff(array: np.ndarray, **options: object) -> bytes:
    sink = io.BytesIO()
    tifffile.imwrite(sink, array, **options)
    return sink.getvalue()


def encoded(array: np.ndarray, format_: str, **options: object) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(array).save(sink, format=format_, **options)
    return sink.getvalue()


def packed_tiff(samples: np.ndarray, bits: int, photometric: int, **tags: int) -> bytes:
    """An uncompressed little-endian TIFF of `bits` a sample, rows padded to bytes, as cameras write them."""
    height, width = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    rows = samples.reshape(height, -1)
    pixels = b"".join(
        int("".join(format(value, f"0{bits}b") for value in row).ljust(-(-row.size * bits // 8) * 8, "0"), 2).to_bytes(
            -(-row.size * bits // 8), "big"
        )
        for row in rows
    )
    entries = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 0, 277: channels, 278: height}
    entries |= {279: len(pixels)} | {int(name[1:]): value for name, value in tags.items()}
    directory_size = 2 + 12 * len(entries) + 4
    three = b""
    start = 8 + directory_size
    if channels == 3:  # BitsPerSample has one number a channel, too many to stand in the directory
        three, start = struct.pack("<3H", bits, bits, bits), start + 6
    entries[273] = start
    directory = struct.pack("<H", len(entries))
    for tag, value in sorted(entries.items()):
        if tag == 258 and three:
            directory += struct.pack("<HHII", tag, 3, 3, 8 + directory_size)
        else:
            directory += struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + three + pixels


def with_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    """The PNG with one more chunk behind its header."""
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return png[:33] + chunk + png[33:]


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        dtype=st.sampled_from([np.uint8, np.uint16]),
        shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])),
    )
)
def test_what_is_encoded_is_decoded_again(array: np.ndarray) -> None:
    data = codec.encode_png(array)
    back, facts = codec.decode_with_facts(data)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)
    assert facts.bit_depth == array.dtype.itemsize * 8
    assert np.array_equal(codec.decode(tiff(array, photometric="rgb" if array.shape[2] == 3 else "minisblack")), array)


LAYOUTS = {
    "colour": (COLOUR, {"photometric": "rgb"}, COLOUR),
    "colour in tiles": (COLOUR, {"photometric": "rgb", "tile": (16, 16)}, COLOUR),
    "colour, planes apart": (COLOUR.transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": "separate"}, COLOUR),
    "colour, LZW": (COLOUR, {"photometric": "rgb", "compression": "lzw", "predictor": True}, COLOUR),
    "colour, deflate": (COLOUR, {"photometric": "rgb", "compression": "zlib"}, COLOUR),
    "colour, BigTIFF": (COLOUR, {"photometric": "rgb", "bigtiff": True}, COLOUR),
    "colour and alpha": (
        np.dstack([COLOUR, GREY]),
        {"photometric": "rgb", "extrasamples": ["unassalpha"]},
        COLOUR,
    ),
    "grey": (GREY, {}, GREY),
    "grey in tiles": (GREY, {"tile": (16, 16)}, GREY),
    "grey, white is zero": (GREY, {"photometric": "miniswhite"}, 65535 - GREY),
    "grey and alpha": (
        np.dstack([GREY, GREY]),
        {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unassalpha"]},
        GREY,
    ),
    "two pages, the first counts": (np.stack([GREY, GREY // 2]), {"photometric": "minisblack"}, GREY),
}


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sixteen_bit_tiff_is_kept_whole_in_every_layout(layout: str, byteorder: str) -> None:
    array, options, seen = LAYOUTS[layout]
    decoded, facts = codec.decode_with_facts(tiff(array, byteorder=byteorder, **options))
    assert np.array_equal(decoded, seen.reshape(21, 17, -1))
    assert (facts.bit_depth, facts.format) == (16, "TIFF")


def test_planes_apart_are_kept_in_eight_bits() -> None:
    eight = (COLOUR >> 8).astype(np.uint8)
    data = tiff(eight.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate")
    assert np.array_equal(codec.decode(data), eight)


@pytest.mark.parametrize("alpha", [False, True])
def test_sixteen_bit_colour_png_is_kept_whole(alpha: bool) -> None:
    data = imagecodecs.png_encode(np.dstack([COLOUR, GREY]) if alpha else COLOUR)
    assert np.array_equal(codec.decode(data), COLOUR)
    assert codec.facts(data) == codec.ImageFacts(17, 21, 3, 16, "PNG")


def test_sixteen_bit_grey_png_with_alpha_is_grey() -> None:
    assert np.array_equal(codec.decode(imagecodecs.png_encode(np.dstack([GREY, GREY]))), GREY[..., None])


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("colour", [False, True])
def test_packed_samples_span_the_whole_range(bits: int, colour: bool) -> None:
    samples = (COLOUR if colour else GREY) >> (16 - bits)
    samples[0, 0], samples[0, 1] = 0, (1 << bits) - 1
    decoded, facts = codec.decode_with_facts(packed_tiff(samples, bits, photometric=2 if colour else 1))
    assert facts.bit_depth == bits
    assert np.array_equal(decoded >> (16 - bits), samples.reshape(21, 17, -1))
    assert (decoded.min(), decoded.max()) == (0, 65535)


@pytest.mark.parametrize("tag", [281, 341])
def test_twelve_bits_in_a_sixteen_bit_container_are_recognised_by_the_tag(tag: int) -> None:
    samples = GREY >> 4
    told = tiff(samples, extratags=[(tag, 3, 1, 4095, True)])
    decoded, facts = codec.decode_with_facts(told)
    assert facts.bit_depth == 12
    assert decoded.max() == 65535
    untold, facts = codec.decode_with_facts(tiff(samples))
    assert facts.bit_depth == 16, "never by the look of the pixels"
    assert np.array_equal(untold[..., 0], samples)


def test_a_largest_value_that_ends_no_range_is_a_statistic() -> None:
    assert codec.facts(tiff(GREY >> 5, extratags=[(281, 3, 1, 2011, True)])).bit_depth == 16


def test_a_tag_that_the_pixels_contradict_is_refused() -> None:
    with pytest.raises(UnreadableImage, match="value of 4095, but contains 65535"):
        codec.decode(tiff(GREY, extratags=[(281, 3, 1, 4095, True)]))


@pytest.mark.parametrize("array", [GREY, COLOUR], ids=["grey", "colour"])
def test_the_significant_bits_of_a_png_are_what_it_says(array: np.ndarray) -> None:
    data = with_chunk(imagecodecs.png_encode(array), b"sBIT", bytes([12] * (array.ndim * 2 - 3)))
    decoded, facts = codec.decode_with_facts(data)
    assert facts.bit_depth == 12
    assert np.array_equal(decoded, array.reshape(21, 17, -1)), "PNG's samples are scaled up already"


REFUSED = {
    "floating point": tiff(GREY.astype(np.float32)),
    "floating point in colour": tiff(COLOUR.astype(np.float32), photometric="rgb"),
    "32 bits": tiff((GREY >> 8).astype(np.uint32)),
    "signed": tiff((GREY >> 1).astype(np.int16)),
    "signed, 8 bits": tiff((GREY >> 9).astype(np.int8)),
    "16-bit CMYK": tiff(np.dstack([COLOUR, GREY]), photometric="separated"),
    "many channels": tiff(np.dstack([COLOUR, COLOUR]), photometric="minisblack", planarconfig="contig"),
    "a lossy compression": tiff(COLOUR, photometric="rgb", compression="jpeg2000"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_white_to_scale_by_is_refused_by_name(what: str) -> None:
    with pytest.raises(UnreadableImage, match="not supported") as error:
        codec.decode(REFUSED[what])
    assert error.value.next_step


DEEP = {
    "PNG colour": lambda exif: with_chunk(imagecodecs.png_encode(COLOUR), b"eXIf", exif[6:]),
    "PNG grey": lambda exif: with_chunk(imagecodecs.png_encode(GREY), b"eXIf", exif[6:]),
    "TIFF colour": lambda exif: tiff(COLOUR, photometric="rgb", extratags=[(274, 3, 1, exif.number, True)]),
    "TIFF grey": lambda exif: tiff(GREY, extratags=[(274, 3, 1, exif.number, True)]),
    "TIFF packed": lambda exif: packed_tiff(GREY >> 4, 12, 1, t274=exif.number),
}


class Exif(bytes):
    number: int


def exif_of(orientation: int) -> Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    told = Exif(exif.tobytes())
    told.number = orientation
    return told


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright_in_every_format(orientation: int) -> None:
    def upright(array: np.ndarray) -> np.ndarray:
        told = Image.fromarray(array)
        told.getexif()[0x0112] = orientation
        return np.asarray(ImageOps.exif_transpose(told))

    exif = exif_of(orientation)
    eight = np.random.default_rng(2).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    for format_ in ("PNG", "TIFF", "WEBP"):
        decoded = codec.decode(encoded(eight, format_, exif=bytes(exif), **FORMATS[format_]))
        assert np.array_equal(decoded, upright(eight)), format_
    corner = np.zeros((32, 48), dtype=np.uint8)
    corner[:16, :16] = 200  # JPEG is lossy: where the bright corner is will do
    assert np.array_equal(
        codec.decode(encoded(corner, "JPEG", exif=bytes(exif), quality=95))[..., 0] > 100, upright(corner) > 100
    )
    numbers = np.arange(GREY.size, dtype=np.int32).reshape(GREY.shape)
    where = upright(numbers)
    for kind, make in DEEP.items():
        original = COLOUR.reshape(-1, 3) if "colour" in kind else GREY.reshape(-1, 1)
        decoded = codec.decode(make(exif))
        wanted = original[where]
        assert np.array_equal(
            decoded >> 4 if "packed" in kind else decoded, wanted >> 4 if "packed" in kind else wanted
        )


EVERY_FORMAT = {
    **{name: encoded((COLOUR >> 8).astype(np.uint8), name, **options) for name, options in FORMATS.items()},
    "PNG, 16-bit grey": imagecodecs.png_encode(GREY),
    "PNG, 16-bit colour": imagecodecs.png_encode(COLOUR),
    "TIFF, 16-bit colour": tiff(COLOUR, photometric="rgb"),
    "TIFF, 16-bit colour, LZW": tiff(COLOUR, photometric="rgb", compression="lzw"),
    "TIFF, 16-bit colour, deflate in tiles": tiff(COLOUR, photometric="rgb", compression="zlib", tile=(16, 16)),
    "TIFF, 12 bits packed": packed_tiff(GREY >> 4, 12, 1),
    "BigTIFF": tiff(COLOUR, photometric="rgb", bigtiff=True, byteorder=">"),
}


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_a_file_cut_off_anywhere_is_refused(name: str) -> None:
    data = EVERY_FORMAT[name]
    end = len(data) - (16 if name.startswith("PNG") else 2)  # behind its last pixel a PNG has an end marker, JPEG too
    for length in range(0, end, max(1, end // 40)):
        with pytest.raises(UnreadableImage):
            codec.decode(data[:length])


@pytest.mark.parametrize("name", EVERY_FORMAT)
@settings(max_examples=60, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_bytes_are_an_image_or_refused_and_never_anything_else(
    name: str, changes: list[tuple[float, int]]
) -> None:
    data = bytearray(EVERY_FORMAT[name])
    for where, value in changes:
        data[int(where * len(data))] = value
    try:
        decoded = codec.decode(bytes(data))
    except UnreadableImage:
        return
    assert decoded.ndim == 3
    assert decoded.shape[2] in (1, 3)


def bomb(width: int, height: int, depth: int, colour: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        bomb(12_000, 12_000, 8, 0),
        bomb(60_000, 60_000, 8, 0),
        bomb(12_000, 12_000, 16, 2),
        packed_tiff(GREY, 16, 1, t256=60_000, t257=60_000),
        packed_tiff(GREY >> 4, 12, 1, t256=60_000, t257=60_000),
    ],
    ids=["PNG", "large PNG", "16-bit colour PNG", "TIFF", "packed TIFF"],
)
def test_a_decompression_bomb_is_refused_before_it_goes_off(data: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(UnreadableImage, match="limit of 134,217,728") as error:
        codec.decode(data)
    assert "smaller" in error.value.next_step
    assert time.perf_counter() - started < 1


def test_the_network_sees_sixteen_bit_colour_as_it_sees_the_same_in_eight() -> None:
    eight = np.random.default_rng(3).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    deep = eight.astype(np.uint16) * np.uint16(257)
    assert np.array_equal(runtime.as_input(deep), runtime.as_input(eight))
    resized = preprocessing.preprocessor(16)
    assert np.array_equal(resized(codec.decode(codec.encode_png(deep))), resized(eight))
    white = np.full((40, 30, 3), 65535, dtype=np.uint16)
    assert resized(white).max() == pytest.approx(1.0)
