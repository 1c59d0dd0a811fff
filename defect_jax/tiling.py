"""One large picture through a network, tile after tile: its map in strips, and its label."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float32, UInt, UInt8

from defect_jax.data.frame import shares
from defect_jax.data.tiles import Grid
from defect_jax.models.flips import Probabilities
from defect_jax.predict_step import Thresholds
from defect_jax.stitching import strips

# Starts the network on at most so many frames, shares of the full range; the rows behind the
# frames' own are to be ignored.
Start = Callable[[Float32[np.ndarray, "b h w c"]], Probabilities]


class Strip(NamedTuple):
    """Some rows of a picture's map."""

    maps: Float32[np.ndarray, "rows w classes"]
    label: float | None  # highest of the tiles so far; None without classification head


class TiledDecision(NamedTuple):
    """What is said of a picture that was looked at through tiles."""

    score: float  # highest label of a tile; without classification head, the mask's
    mask_score: float  # highest probability of a pixel
    classes: UInt8[np.ndarray, "h w"]  # decided class of each pixel, 0 = background


def look(
    image: UInt[np.ndarray, "h w c"], grid: Grid, start: Start, tiles_at_once: int
) -> Iterator[Strip]:
    """Yields the map of a picture from top to bottom.

    A part is defective if any of its tiles is, so its label is the highest.
    """
    labels: list[float] = []

    def maps() -> Iterator[np.ndarray]:
        for predicted in _predicted(image, grid, start, tiles_at_once):
            labels.extend([] if predicted.label is None else predicted.label.tolist())
            yield from predicted.mask

    for strip in strips(maps(), grid):
        yield Strip(strip, max(labels, default=None))


def _predicted(
    image: UInt[np.ndarray, "h w c"], grid: Grid, start: Start, tiles_at_once: int
) -> Iterator[Probabilities]:
    """Yields the network's answers; the next tiles are cut while it works on the last ones."""
    tiles, running = grid.cut(image), None
    while batch := list(islice(tiles, tiles_at_once)):
        started = start(np.stack([shares(tile) for tile in batch])), len(batch)
        if running is not None:
            yield _fetched(*running)
        running = started
    if running is not None:
        yield _fetched(*running)


def _fetched(predicted: Probabilities, count: int) -> Probabilities:
    mask, label = jax.device_get(tuple(predicted))
    return Probabilities(mask[:count], None if label is None else label[:count])


def decide(
    strips_of: Iterator[Strip], native_px: tuple[int, int], thresholds: Thresholds
) -> TiledDecision:
    """Decides on a picture as `predict_step.judge_maps` does, and never holds its whole map."""
    classes = np.zeros(native_px, np.uint8)
    mask_score, area_px, row, label = np.float32(0.0), 0, 0, None
    for strip in strips_of:
        maps, label = strip
        probability = maps.sum(axis=-1)
        marked = probability >= thresholds.pixel
        classes[row : row + len(maps)] = np.where(marked, 1 + maps.argmax(axis=-1), 0)
        mask_score = max(mask_score, probability.max())
        area_px += np.count_nonzero(marked)
        row += len(maps)
    if mask_score < thresholds.mask or area_px < thresholds.area_px:
        classes[:] = 0
    return TiledDecision(float(mask_score) if label is None else label, float(mask_score), classes)
