"""Outlines to pixels: those whose centres are inside, or all that are touched; see `shapes`."""

import numpy as np
from jaxtyping import Float64
from PIL import Image, ImageDraw

from defect_jax.data.annotations.entries import BadAnnotation, Patch

MOST_CORNERS = 100_000  # of one ring
MOST_CROSSINGS = 20_000_000  # of its edges with rows of pixels
FARTHEST_PX = 1e7  # a corner may lie outside its image, but not anywhere
NOTHING = Patch(0, 0, np.zeros((0, 0), bool))


def refuse_ring(ring: Float64[np.ndarray, "n 2"]) -> None:
    """Refuse what is no polygon, or takes too long to fill.

    Raises:
        BadAnnotation: see above.
    """
    if len(ring) < 3:
        raise BadAnnotation("has a polygon of less than three corners: draw it again")
    if len(ring) > MOST_CORNERS:
        raise BadAnnotation(f"has a polygon of {len(ring):,} corners: save it as a mask")
    if np.abs(ring).max() > FARTHEST_PX:
        raise BadAnnotation("has a polygon that leaves its image: draw it again")


def span(low: float, high: float, size: int) -> tuple[int, int]:
    """Return the first pixel, and the one behind the last, that may lie between two places."""
    first = min(max(int(np.floor(low)), 0), size)
    return first, min(max(int(np.ceil(high)), first), size)


def centres_inside(rings: list[Float64[np.ndarray, "_ 2"]], height: int, width: int) -> Patch:
    """Return the pixels whose centres are inside an odd number of rings.

    Each edge crosses the rows between its ends; what lies to the right of a crossing changes sides.
    """
    corners = np.concatenate(rings)
    top, bottom = span(corners[:, 1].min(), corners[:, 1].max(), height)
    left, right = span(corners[:, 0].min(), corners[:, 0].max(), width)
    changes = np.zeros((bottom - top, right - left + 1), np.uint8)
    for ring in rings:
        rows, x = _crossings(ring, top, bottom)
        columns = np.clip(np.ceil(x - 0.5), left, right).astype(np.int64) - left
        np.add.at(changes, (rows - top, columns), 1)
    sides = np.cumsum(changes[:, :-1], axis=1, dtype=np.uint8)  # only whether it is odd counts
    return Patch(top, left, sides % 2 == 1)


def _crossings(
    ring: Float64[np.ndarray, "n 2"], top: int, bottom: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of each crossing of an edge with the middle of a row, and its x."""
    ends = np.roll(ring, -1, axis=0)
    upward = ring[:, 1] > ends[:, 1]
    high = np.where(upward[:, None], ends, ring)  # the end with the smaller y
    low = np.where(upward[:, None], ring, ends)
    first = np.clip(np.ceil(high[:, 1] - 0.5), top, bottom).astype(np.int64)
    last = np.clip(np.ceil(low[:, 1] - 0.5), top, bottom).astype(np.int64)
    counts = last - first
    if counts.sum() > MOST_CROSSINGS:
        raise BadAnnotation("has a polygon that runs to and fro too often: save it as a mask")
    edges = np.repeat(np.arange(len(ring)), counts)
    rows = np.arange(len(edges)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edges]
    slope = (rows + 0.5 - high[edges, 1]) / (low[edges, 1] - high[edges, 1])
    return rows, high[edges, 0] + slope * (low[edges, 0] - high[edges, 0])


def touched_by(rings: list[Float64[np.ndarray, "_ 2"]], height: int, width: int) -> Patch:
    """Return the pixels that Pillow draws: those that hold a corner, and all between them."""
    corners = np.concatenate(rings)
    top, bottom = span(corners[:, 1].min() - 1, corners[:, 1].max() + 2, height)
    left, right = span(corners[:, 0].min() - 1, corners[:, 0].max() + 2, width)
    if bottom == top or right == left:
        return NOTHING
    drawn = Image.new("1", (right - left, bottom - top))
    for ring in rings:
        ImageDraw.Draw(drawn).polygon((ring - [left, top]).ravel().tolist(), fill=1, outline=1)
    return Patch(top, left, np.asarray(drawn))
