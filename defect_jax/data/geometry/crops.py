"""Which part of a large image a training step sees: round a defect, beside all, or anywhere."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from defect_jax.data.geometry.letterbox import Placement
from defect_jax.data.geometry.tiles import TileAxis

MOST_TRIES = 20  # for a place without a defect; of worse ones the one with least defect is taken


class Window(NamedTuple):
    """A part of an image, in px; it may reach beyond the image."""

    top: int
    left: int
    height: int
    width: int


def window_px(
    size_px: tuple[int, int], shrink: float, stretch: float, rng: np.random.Generator
) -> tuple[int, int]:
    """Return the height and width of what fills the frame: larger, to be shrunk, and stretched at
    random.

    Args:
        shrink, stretch: as those of `letterbox.jitter`.
    """
    scale = 1.0 - rng.uniform(0.0, shrink)
    factor = np.exp(rng.uniform(-stretch, stretch) / 2)
    height, width = size_px
    return max(1, round(height / (scale * factor))), max(1, round(width / (scale / factor)))


def choose(
    mask: UInt8[np.ndarray, "h w"],
    sides: tuple[int, int],
    overlap_px: int,
    defective: bool | None,
    rng: np.random.Generator,
) -> Window:
    """Choose a window of the image as `sampling.ImageRequest.defective` asks.

    Every defect is as likely as another, however large it is, and is anywhere in its window.

    Args:
        mask: class of each pixel, 0 = background.
        sides: height and width of the window.
        overlap_px: of the grid that decides; windows reach beyond the image as far as its does.
    """
    if defective and mask.any():
        return _drawn(mask.shape, sides, overlap_px, _defect_pixel(mask, rng), rng)
    tries = MOST_TRIES if defective is False and mask.any() else 1
    least = None
    for _ in range(tries):
        window = _drawn(mask.shape, sides, overlap_px, None, rng)
        defect_px = np.count_nonzero(part(mask, window))
        if least is None or defect_px < least[0]:
            least = (defect_px, window)
        if defect_px == 0:
            break
    return least[1]


def _defect_pixel(mask: UInt8[np.ndarray, "h w"], rng: np.random.Generator) -> tuple[int, int]:
    """Return a pixel of one of the connected defects."""
    count, labelled = cv2.connectedComponents((mask > 0).astype(np.uint8), connectivity=8)
    pixels = np.flatnonzero(labelled == rng.integers(1, count))
    row, column = divmod(int(rng.choice(pixels)), mask.shape[1])
    return row, column


def _drawn(
    image_px: tuple[int, int],
    sides: tuple[int, int],
    overlap_px: int,
    pixel: tuple[int, int] | None,
    rng: np.random.Generator,
) -> Window:
    starts = []
    for axis, (length, side) in enumerate(zip(image_px, sides, strict=True)):
        low, high = _range(length, side, overlap_px)
        if pixel is not None:
            low, high = max(low, pixel[axis] - side + 1), min(high, pixel[axis])
        starts.append(int(rng.integers(low, high + 1)))
    return Window(*starts, *sides)


def _range(length: int, side: int, overlap_px: int) -> tuple[int, int]:
    """Return the first and last place where a window may begin.

    An image smaller than the window is anywhere in it.
    """
    if length <= side:
        return length - side, 0
    beyond = TileAxis(length, side, min(overlap_px, side // 2)).before_px
    return -beyond, length - side + beyond


def part(plane: np.ndarray, window: Window) -> np.ndarray:
    """Return the part of an image or mask that the window shows."""
    top, left, height, width = window
    return plane[max(0, top) : top + height, max(0, left) : left + width]


def place_window(window: Window, image_px: tuple[int, int], size_px: tuple[int, int]) -> Placement:
    """Return the place in the frame of the part of the image that the window shows.

    >>> place_window(Window(-10, 5, 100, 100), (300, 300), (50, 50))
    Placement(top=5, left=0, height=45, width=50)
    """
    spans = []
    for axis in (0, 1):
        start, side, frame = window[axis], window[2 + axis], size_px[axis]
        scale = frame / side
        first = round(max(0, -start) * scale)
        last = round((min(image_px[axis], start + side) - start) * scale)
        first = min(first, frame - 1)
        spans.append((first, max(1, last - first)))
    (top, height), (left, width) = spans
    return Placement(top, left, height, width)
