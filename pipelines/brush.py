"""Label Studio's run lengths for brush strokes: a bit stream of RGBA values, four to a pixel, the mask in the alpha channel.

The stream: 32 bits how many values; 5 bits the size of a value less one; four times 4 bits the size of a run's length less
one. Then runs: one bit whether all values are equal, two bits which of the four sizes, the length less one, and the value,
or every value. Source: Label Studio's documentation of its BrushLabels tag, and @thi.ng/rle-pack whose format it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LENGTH_BITS = (3, 4, 8, 16)
VALUE_BITS = 8
CHANNELS = 4


def decode(packed: Sequence[int], width: int, height: int) -> np.ndarray:
    """bool [height, width]. Raises ValueError for a stream that ends early or holds another number of pixels."""
    stream = _Bits(np.unpackbits(np.asarray(packed, dtype=np.uint8)))
    n = stream.take(32)
    if n != width * height * CHANNELS:
        raise ValueError(f"the brush holds {n // CHANNELS} pixels, the image {width}×{height}")
    value_bits = stream.take(5) + 1
    sizes = [stream.take(4) + 1 for _ in range(4)]
    values = np.zeros(n, np.uint8)
    at = 0
    while at < n:
        equal = stream.take(1)
        end = at + 1 + stream.take(sizes[stream.take(2)])
        if end > n:
            raise ValueError("a run of the brush reaches beyond the image")
        values[at:end] = stream.take(value_bits) if equal else [stream.take(value_bits) for _ in range(end - at)]
        at = end
    return values.reshape(height, width, CHANNELS)[..., 3] > 127


def encode(mask: np.ndarray) -> list[int]:
    """Bytes of a bool [height, width] mask, as runs of equal values."""
    values = np.repeat(mask.ravel(), CHANNELS)
    bits = [_bits(values.size, 32), _bits(VALUE_BITS - 1, 5), *(_bits(size - 1, 4) for size in LENGTH_BITS)]
    edges = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1, [values.size]])
    most = 1 << LENGTH_BITS[-1]
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        value = _bits(255 if values[start] else 0, VALUE_BITS)
        for at in range(start, end, most):
            length = min(most, end - at) - 1
            which = next(number for number, size in enumerate(LENGTH_BITS) if length < 1 << size)
            bits += [_bits(1, 1), _bits(which, 2), _bits(length, LENGTH_BITS[which]), value]
    return np.packbits(np.concatenate(bits)).tolist()


class _Bits:
    def __init__(self, bits: np.ndarray) -> None:
        self.text = "".join(map(str, bits.tolist()))
        self.at = 0

    def take(self, n: int) -> int:
        end = self.at + n
        if end > len(self.text):
            raise ValueError("the brush ends early")
        value = int(self.text[self.at : end], 2)
        self.at = end
        return value


def _bits(value: int, n: int) -> np.ndarray:
    return np.array([value >> shift & 1 for shift in range(n - 1, -1, -1)], dtype=np.uint8)
