"""The probabilities of overlapping tiles as one map of the picture, a strip at a time.

Of two neighbours the later one counts more and more across their overlap (`tiles.later_share`), so
there is no seam. Where the network sees nothing beyond a tile, the map is what the network would
say of the whole picture. No more than a row of tiles is held, however high the picture is.
"""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float32

from defect_jax.data.tiles import Grid, later_share


def strips(
    tiles: Iterable[Float32[np.ndarray, "th tw classes"]], grid: Grid
) -> Iterator[Float32[np.ndarray, "rows w classes"]]:
    """Yields the map of a picture from top to bottom, as soon as no tile can change it.

    Args:
        tiles: maps of the grid's tiles, row after row.
    """
    rows, tiles = grid.rows, iter(tiles)
    overlap, share = rows.overlap_px, later_share(rows.overlap_px)[:, None, None]
    above = None
    for row in range(rows.tiles):
        band = joined(list(itertools.islice(tiles, grid.columns.tiles)), grid)
        if above is not None:
            band[:overlap] = blended(above, band[:overlap], share)
        above = band[rows.stride_px :]
        last = row == rows.tiles - 1
        first = max(0, rows.before_px - row * rows.stride_px)
        end = rows.before_px + rows.picture_px - row * rows.stride_px
        yield band[first : end if last else rows.stride_px]


def joined(
    tiles: list[Float32[np.ndarray, "th tw classes"]], grid: Grid
) -> Float32[np.ndarray, "th w classes"]:
    """One row of tiles, without what lies beside the picture."""
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
    return band[:, columns.before_px : columns.before_px + columns.picture_px]


def blended(earlier: np.ndarray, later: np.ndarray, share: np.ndarray) -> np.ndarray:
    """From the earlier to the later, as far as `share` says."""
    return earlier + share * (later - earlier)
