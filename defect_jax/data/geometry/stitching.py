"""A large image through a network tile after tile: its map in strips, and its label.

Of two neighbours the later one counts more and more across their overlap (`tiles.later_share`), so
there is no seam. Where the network sees nothing beyond a tile, the map is what the network would
say of the whole image. No more than a row of tiles is held, however high the image is.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float32, Float64, UInt

from defect_jax.data.geometry.tiles import Grid, later_share
from defect_jax.models.probabilities import Probabilities

# Starts the network on at most so many tiles, as cut from the image, with what of them is shown if
# that is asked for; the rows behind the tiles' own are to be ignored.
Start = Callable[..., Probabilities]


class Strip(NamedTuple):
    """Some rows of an image's map."""

    maps: Float32[np.ndarray, "rows w classes"]
    label: float | None  # highest of the tiles so far; None without classification head
    sums: Float64[np.ndarray, "members n"] | None = None  # of the tiles so far, see `appearance`


def iter_tile_rows(
    image: UInt[np.ndarray, "h w c"],
    grid: Grid,
    start: Start,
    tiles_at_once: int,
    shown: Iterator[Float32[np.ndarray, "th tw"]] | None = None,
) -> Iterator[Strip]:
    """Yield the map of an image from top to bottom.

    A part is defective if any of its tiles is, so its label is the highest.

    Args:
        shown: of each tile, `Grid.shown`; None: the network is not asked what they look like.
    """
    labels: list[float] = []
    sums: list[np.ndarray] = []  # one: of all tiles so far

    def maps() -> Iterator[np.ndarray]:
        for predicted in _predicted(image, grid, start, tiles_at_once, shown):
            labels.extend([] if predicted.label is None else predicted.label.tolist())
            if predicted.sums is not None:
                sums[:] = [sum(sums) + predicted.sums.sum(axis=1, dtype=np.float64)]
            yield from predicted.mask

    for strip in strips(maps(), grid):
        yield Strip(strip, max(labels, default=None), sums[0] if sums else None)


def _predicted(
    image: UInt[np.ndarray, "h w c"],
    grid: Grid,
    start: Start,
    tiles_at_once: int,
    shown: Iterator[Float32[np.ndarray, "th tw"]] | None,
) -> Iterator[Probabilities]:
    """Yield the network's answers; the next tiles are cut while it works on the last ones."""
    tiles, running = grid.cut(image), None
    while batch := list(itertools.islice(tiles, tiles_at_once)):
        planes = [] if shown is None else [np.stack(list(itertools.islice(shown, len(batch))))]
        started = start(np.stack(batch), *planes), len(batch)
        if running is not None:
            yield _fetched(*running)
        running = started
    if running is not None:
        yield _fetched(*running)


def _fetched(predicted: Probabilities, count: int) -> Probabilities:
    mask, label, sums = jax.device_get(tuple(predicted))
    label = None if label is None else label[:count]
    return Probabilities(mask[:count], label, None if sums is None else sums[:, :count])


def strips(
    tiles: Iterable[Float32[np.ndarray, "th tw classes"]], grid: Grid
) -> Iterator[Float32[np.ndarray, "rows w classes"]]:
    """Yield the map of an image from top to bottom, as soon as no tile can change it.

    Args:
        tiles: maps of the grid's tiles, row after row.
    """
    rows, tiles = grid.rows, iter(tiles)
    overlap, share = rows.overlap_px, later_share(rows.overlap_px)[:, None, None]
    above = None
    for row in range(rows.tiles):
        band = stitched_row(list(itertools.islice(tiles, grid.columns.tiles)), grid)
        if above is not None:
            band[:overlap] = blended(above, band[:overlap], share)
        above = band[rows.stride_px :]
        last = row == rows.tiles - 1
        first = max(0, rows.before_px - row * rows.stride_px)
        end = rows.before_px + rows.image_px - row * rows.stride_px
        yield band[first : end if last else rows.stride_px]


def stitched_row(
    tiles: list[Float32[np.ndarray, "th tw classes"]], grid: Grid
) -> Float32[np.ndarray, "th w classes"]:
    """Return one row of tiles, without what is beside the image."""
    columns = grid.columns
    overlap, share = columns.overlap_px, later_share(columns.overlap_px)[None, :, None]
    height, width, classes = tiles[0].shape
    band = np.empty((height, (len(tiles) - 1) * columns.stride_px + width, classes), np.float32)
    for column, tile in enumerate(tiles):
        start = column * columns.stride_px
        before = band[:, start : start + overlap].copy()
        band[:, start : start + width] = tile
        if column > 0:
            band[:, start : start + overlap] = blended(before, tile[:, :overlap], share)
    return band[:, columns.before_px : columns.before_px + columns.image_px]


def blended(earlier: np.ndarray, later: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Blend from the earlier to the later, by `share`."""
    return earlier + share * (later - earlier)
