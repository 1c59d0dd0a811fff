"""Masks that are stored as lengths of runs: COCO's, CVAT's, and those of Label Studio's brush."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from defect_jax.data.annotations.entries import BadAnnotation, Patch
from defect_jax.data.annotations.shapes import clipped

CHARACTER_0 = 48  # COCO packs five bits, and whether more follow, into each character behind it
MOST_BYTES = 16 * 2**20  # of one stroke of a brush
CHANNELS, ALPHA = 4, 3  # a brush stores red, green, blue and alpha; the last is the mask
COUNT_BITS, WORD_BITS, SIZE_BITS, WHICH_BITS = 32, 5, 4, 2


class Runs(NamedTuple):
    """Runs of background and of mask in turn, background first.

    Attributes:
        counts: their lengths; what is missing at the end is background.
        height, width: of what they fill.
        top, left: where its first pixel lies in the image.
        by_columns: whether they run down the columns, as COCO's do, or along the rows.
    """

    counts: Int64[np.ndarray, " n"]
    height: int
    width: int
    top: int = 0
    left: int = 0
    by_columns: bool = False

    def patch(self, height: int, width: int) -> Patch:
        """Return the pixels that they mark."""
        if not (1 <= self.height <= height and 1 <= self.width <= width):
            raise BadAnnotation(
                f"has a mask of {self.width}x{self.height} px, larger than the image: export again"
            )
        pixels = self.height * self.width
        if (self.counts < 0).any() or self.counts.sum() > pixels:
            raise BadAnnotation("has a mask with more pixels than its size: export it again")
        counts = np.append(self.counts, pixels - self.counts.sum())
        marked = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        if len(counts) % 2 == 0:  # the rest that was added counts as mask
            marked[pixels - counts[-1] :] = False
        if self.by_columns:
            inside = marked.reshape(self.width, self.height).T
        else:
            inside = marked.reshape(self.height, self.width)
        return clipped(self.top, self.left, inside, height, width)


def whole_numbers(values: Any) -> Int64[np.ndarray, " n"]:
    """Return lengths of runs as an array.

    Raises:
        BadAnnotation: they are no whole numbers.
    """
    try:
        counts = np.array(values, np.float64)
    except (TypeError, ValueError):
        counts = np.full(1, np.nan)
    if counts.ndim != 1 or not np.isfinite(counts).all() or (counts % 1).any():
        raise BadAnnotation("has a mask whose runs are no whole numbers: export it again")
    if np.abs(counts).max(initial=0) > 2**40:
        raise BadAnnotation("has a mask with more pixels than its size: export it again")
    return counts.astype(np.int64)


def unpacked(text: str) -> Int64[np.ndarray, " n"]:
    """Return the lengths that COCO packed into a text.

    Each is a number in groups of five bits, lowest first; from the fourth on it is the difference
    to the one two before.

    >>> unpacked("52203").tolist()
    [5, 2, 2, 2, 5]

    Raises:
        BadAnnotation: the text is no such packing.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - CHARACTER_0
        if not 0 <= bits < 64 or shift > 60:
            raise BadAnnotation("has a mask that is no run lengths of COCO: export it again")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:  # more follow
            continue
        if bits & 16:  # the number is negative
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise BadAnnotation("has a mask whose run lengths are cut off: export it again")
    return whole_numbers(counts)


class Brush(NamedTuple):
    """What Label Studio's brush painted; see `brush_values`."""

    data: Sequence[int]
    height: int
    width: int

    def patch(self, height: int, width: int) -> Patch:
        """Return the pixels that are painted by half at least: the edges of strokes are soft."""
        if (self.height, self.width) != (height, width):
            raise BadAnnotation(
                f"was painted on {self.width}x{self.height} px, and has {width}x{height} px: "
                "save the image in that size, or paint it again"
            )
        alpha = brush_values(self.data, height * width * CHANNELS, CHANNELS, ALPHA)
        alpha = alpha.reshape(height, width)
        return Patch(0, 0, alpha > int(alpha.max()) // 2)


def brush_values(
    data: Sequence[int], count: int, step: int = 1, first: int = 0
) -> UInt8[np.ndarray, " n"]:
    """Return every `step`-th of the values that Label Studio packed into bits, from `first` on.

    The head has the number of values, the bits of one, and four sizes. Then come runs: whether one
    value is repeated, which of the sizes its length has, the length less one, and the value or
    values.

    Args:
        data: bytes.
        count: how many values there have to be.

    Raises:
        BadAnnotation: there are others, or they are cut off.
    """
    bits = _Bits(data)
    if bits.number(COUNT_BITS) != count:
        raise BadAnnotation("has a brush stroke of another size than its image: export it again")
    word = bits.number(WORD_BITS) + 1
    sizes = [bits.number(SIZE_BITS) + 1 for _ in range(4)]
    values = np.zeros(len(range(first, count, step)), np.uint8)
    place = 0
    while place < count:
        repeated = bits.number(1)
        end = place + bits.number(sizes[bits.number(WHICH_BITS)]) + 1
        run = bits.words(1 if repeated else end - place, word)
        start = -(-(place - first) // step)  # the first of ours in this run
        stop = -(-(min(end, count) - first) // step)
        ours = run if repeated else run[start * step + first - place :: step][: stop - start]
        values[start:stop] = ours
        place = end
    if place > count:
        raise BadAnnotation("has a brush stroke of another size than its image: export it again")
    return values


class _Bits:
    """Reads numbers of any number of bits, the highest first."""

    def __init__(self, data: Sequence[int]):
        if not isinstance(data, list) or not 0 < len(data) <= MOST_BYTES:
            raise BadAnnotation("has a brush stroke without bytes, or with too many: paint again")
        values = whole_numbers(data)
        if (values < 0).any() or (values > 255).any():
            raise BadAnnotation("has a brush stroke that is no bytes: export it again")
        self._bits, self._place = np.unpackbits(values.astype(np.uint8)), 0

    def number(self, size: int) -> int:
        """Return the next number of so many bits."""
        return int("".join(map(str, self._next(size).tolist())), 2)

    def words(self, count: int, size: int) -> UInt8[np.ndarray, " n"]:
        """Return the next values of so many bits; of larger ones the last eight bits."""
        bits = self._next(count * size).reshape(count, size)[:, -8:]
        return np.packbits(bits, axis=1)[:, 0] >> max(8 - size, 0)

    def _next(self, size: int) -> UInt8[np.ndarray, " n"]:
        self._place += size
        if self._place > len(self._bits):
            raise BadAnnotation("has a brush stroke that is cut off: export it again")
        return self._bits[self._place - size : self._place]
