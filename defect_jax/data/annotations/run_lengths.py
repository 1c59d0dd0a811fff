"""Masks that are stored as lengths of runs: COCO's and CVAT's."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from defect_jax.data.annotations.entries import BadAnnotation, Patch
from defect_jax.data.annotations.shapes import clipped

CHARACTER_0 = 48  # COCO packs five bits, and whether more follow, into each character behind it


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
    for value in _packed_numbers(text):
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    return whole_numbers(counts)


def _packed_numbers(text: str) -> Iterator[int]:
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - CHARACTER_0
        if not 0 <= bits < 64 or shift > 60:
            raise BadAnnotation("has a mask that is no run lengths of COCO: export it again")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the last group; its highest bit is the sign
            yield value - (1 << shift) if bits & 16 else value
            value, shift = 0, 0
    if shift:
        raise BadAnnotation("has a mask whose run lengths are cut off: export it again")
