"""Label Studio's brush: the pixels of a canvas, in runs that are packed into bits.

Written from what the format is known to hold; `tests/test_annotations.py` has a stroke that Label
Studio's own converter packed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from defect_jax.data.annotations.entries import BadAnnotation, Patch
from defect_jax.data.annotations.run_lengths import whole_numbers

MOST_BYTES = 16 * 2**20  # of one stroke
CHANNELS, ALPHA = 4, 3  # red, green, blue and alpha are stored; the last is the mask
COUNT_BITS, WORD_BITS, SIZE_BITS, WHICH_BITS = 32, 5, 4, 2
OTHER_SIZE = "has a brush stroke of another size than its image: export it again"


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
        raise BadAnnotation(OTHER_SIZE)
    word = bits.number(WORD_BITS) + 1
    sizes = [bits.number(SIZE_BITS) + 1 for _ in range(4)]
    values = np.zeros(len(range(first, count, step)), np.uint8)
    place = 0
    while place < count:
        repeated = bits.number(1)
        end = place + bits.number(sizes[bits.number(WHICH_BITS)]) + 1
        if end > count:
            raise BadAnnotation(OTHER_SIZE)
        run = bits.words(1 if repeated else end - place, word)
        # Those of ours, counted in steps, that are in this run.
        start, stop = -(-(place - first) // step), -(-(end - first) // step)
        values[start:stop] = run if repeated else run[start * step + first - place :: step]
        place = end
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
