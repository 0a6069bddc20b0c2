"""Label Studio's brush masks: RGBA pixels as a list of bytes, run-length packed by the bit, as `@thi.ng/rle-pack` documents:

    32 bits number of words · 5 bits word size - 1 · 4 × 4 bits sizes of a run length - 1
    then chunks: 1 bit (1: one word repeated, 0: words as they are) · 2 bits which size · run length - 1 · the word or words

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

HEADER_BITS = 53
_SIZES = (3, 4, 8, 16)  # what Label Studio writes
_LONGEST = 1 << 16


def alpha(rle: Sequence[int], *, width: int, height: int) -> np.ndarray:
    """The brush's opacity, uint8 [height, width]. Raises ValueError that says what is wrong with the list."""
    n_words = words(rle)
    if n_words not in (width * height * 4, width * height):
        raise ValueError(f"its run lengths hold {n_words} values, {width}×{height} px have {width * height * 4}")
    values = _unpacked(bytes(rle), n_words)
    return values.reshape(height, width, -1)[..., -1]


def words(rle: Sequence[int]) -> int:
    """How many values the header announces: four for a pixel. Raises ValueError for a list that is no such header."""
    if len(rle) * 8 < HEADER_BITS:
        raise ValueError("its run lengths end within their header")
    if not all(isinstance(value, int) and 0 <= value <= 255 for value in rle):
        raise ValueError("its run lengths are no bytes")
    return int.from_bytes(bytes(rle[:4]))


def packed(mask: np.ndarray) -> list[int]:
    """A mask bool [h, w] as the list that Label Studio reads, opaque where it is true."""
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
            raise ValueError("its run lengths are cut off")
        value = int.from_bytes(data[at >> 3 : (end + 7) >> 3]) >> (-end % 8)
        at = end
        return value & ((1 << n_bits) - 1)

    word_bits = number(5) + 1
    if word_bits != 8:
        raise ValueError(f"its run lengths are of words of {word_bits} bits, not 8")
    sizes = [number(4) + 1 for _ in range(4)]
    values = np.zeros(n_words, np.uint8)
    done = 0
    while done < n_words:
        repeated = number(1)
        length = number(sizes[number(2)]) + 1
        if done + length > n_words:
            raise ValueError(f"its run lengths are longer than the {n_words} values that they announce")
        if repeated:
            values[done : done + length] = number(8)
        else:
            end = at + length * 8
            if end > len(data) * 8:
                raise ValueError("its run lengths are cut off")
            bits = np.unpackbits(np.frombuffer(data[at >> 3 : (end + 7) >> 3], np.uint8))
            values[done : done + length] = np.packbits(bits[at % 8 : at % 8 + length * 8])
            at = end
        done += length
    return values
