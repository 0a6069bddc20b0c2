"""Label Studio's brush masks: RGBA pixels as a list of bytes, run-length encoded as by `@thi.ng/rle-pack`:

    32 bits number of words · 5 bits word size - 1 · 4 × 4 bits size of a run length - 1
    then chunks: 1 bit (1: one word repeated, 0: literal words) · 2 bits index of the size · run length - 1 · word(s)

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

HEADER_BITS = 53
_SIZES = (3, 4, 8, 16)  # the sizes that Label Studio writes
_LONGEST = 1 << 16


def alpha(rle: Sequence[int], *, width: int, height: int) -> np.ndarray:
    """Return the brush's opacity, uint8 [height, width]. Raises ValueError for an invalid list."""
    n_words = words(rle)
    if n_words not in (width * height * 4, width * height):
        raise ValueError(
            f"its run lengths have {n_words} values instead of {width * height * 4} for {width}×{height} px"
        )
    values = _unpacked(bytes(rle), n_words)
    return values.reshape(height, width, -1)[..., -1]


def words(rle: Sequence[int]) -> int:
    """Return the number of values in the header, four per pixel. Raises ValueError for an invalid header."""
    if len(rle) * 8 < HEADER_BITS:
        raise ValueError("its run lengths are truncated in the header")
    if not all(isinstance(value, int) and 0 <= value <= 255 for value in rle):
        raise ValueError("its run lengths are not bytes")
    return int.from_bytes(bytes(rle[:4]))


def packed(mask: np.ndarray) -> list[int]:
    """Encode a mask bool [h, w] as the list that Label Studio reads, opaque where the mask is true."""
    flat = mask.ravel()
    edges = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])
    bits = [f"{flat.size * 4:032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        word = f"{255 if flat[start] else 0:08b}"
        left = (stop - start) * 4
        while left > 0:
            length = min(left, _LONGEST)
            which = next(n for n, size in enumerate(_SIZES) if length <= 1 << size)
            bits.append(f"1{which:02b}{length - 1:0{_SIZES[which]}b}{word}")
            left -= length
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8))


def _unpacked(data: bytes, n_words: int) -> np.ndarray:
    at = 32

    def number(n_bits: int) -> int:
        nonlocal at
        end = at + n_bits
        if end > len(data) * 8:
            raise ValueError("its run lengths are truncated")
        value = int.from_bytes(data[at >> 3 : (end + 7) >> 3]) >> (-end % 8)
        at = end
        return value & ((1 << n_bits) - 1)

    word_bits = number(5) + 1
    if word_bits != 8:
        raise ValueError(f"its run lengths have words of {word_bits} bits instead of 8")
    sizes = [number(4) + 1 for _ in range(4)]
    values = np.zeros(n_words, np.uint8)
    done = 0
    while done < n_words:
        repeated = number(1)
        length = number(sizes[number(2)]) + 1
        if done + length > n_words:
            raise ValueError(f"its run lengths have more values than the {n_words} in the header")
        if repeated:
            values[done : done + length] = number(8)
        else:
            end = at + length * 8
            if end > len(data) * 8:
                raise ValueError("its run lengths are truncated")
            bits = np.unpackbits(np.frombuffer(data[at >> 3 : (end + 7) >> 3], np.uint8))
            values[done : done + length] = np.packbits(bits[at % 8 : at % 8 + length * 8])
            at = end
        done += length
    return values
