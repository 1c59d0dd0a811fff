"""Images at another size: each axis is scaled by a sparse matrix of its own.

The numbers are those of OpenCV's area averaging and of its bilinear enlargement. Two products with
a sparse matrix take a third of the time of the former for a grey image and as long for one in
colour, compute a part of an image as well, and average along one axis where the other grows, which
OpenCV does not.
"""

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Shaped
from scipy import sparse

WHOLE = slice(None)
MOST_TURNED = 4  # channels that OpenCV transposes, of any type


def resampled(
    image: Shaped[np.ndarray, "h w c"],
    size_px: tuple[int, int],
    rows: slice = WHOLE,
    columns: slice = WHOLE,
) -> Shaped[np.ndarray, "height width c"]:
    """Scale an image: areas are averaged where it shrinks, so that no fine texture aliases.

    Args:
        size_px: height and width of the result, if it were whole.
        rows, columns: the part of the result that is wanted, not empty.

    Returns:
        The image's own type; whole numbers are rounded, halves to even.

    >>> image = np.array([[[0], [30], [60]]], np.uint8)
    >>> resampled(image, (1, 2))[..., 0].tolist()  # a pixel and a half each: 0 + 15, 15 + 60 of 1.5
    [[10, 50]]
    >>> resampled(image, (1, 6), columns=slice(1, 4))[..., 0].tolist()
    [[8, 22, 38]]
    """
    height, width = image.shape[:2]
    # Height first: the whole image is never turned.
    scaled = _along_rows(image, size_px[0], rows) if size_px[0] != height else image[rows]
    if size_px[1] != width:
        scaled = _turned(_along_rows(_turned(scaled), size_px[1], columns))
    else:
        scaled = scaled[:, columns]
    if scaled.dtype == image.dtype:
        return np.ascontiguousarray(scaled)
    return np.rint(scaled, out=scaled).astype(image.dtype)


def _turned(image: np.ndarray) -> np.ndarray:
    height, width, channels = image.shape
    if channels > MOST_TURNED:
        return np.ascontiguousarray(image.swapaxes(0, 1))
    return cv2.transpose(image).reshape(width, height, channels)  # OpenCV drops an axis of one


def _along_rows(image: np.ndarray, length_px: int, part: slice) -> np.ndarray:
    """Return the wanted rows of an image that is `length_px` high, float32 [height w c]."""
    height, *others = image.shape
    weights = _weights(height, length_px)
    flat = image.reshape(height, -1).astype(np.float32, copy=False)
    return ((weights if part == WHOLE else weights[part]) @ flat).reshape(-1, *others)


@lru_cache(maxsize=1024)
def _weights(old_px: int, new_px: int) -> sparse.csr_array:
    """Return what each pixel of the new axis takes of the old axis' pixels, float32 [new old]."""
    places, weights = (_shares if new_px < old_px else _neighbours)(old_px, new_px)
    each = places.shape[1]
    places = places.clip(0, old_px - 1).astype(np.int32)
    starts = np.arange(0, new_px * each + 1, each, dtype=np.int32)
    whole = weights.astype(np.float32).ravel(), places.ravel(), starts
    return sparse.csr_array(whole, shape=(new_px, old_px))


def _shares(old_px: int, new_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each new pixel the old ones below it, and which share of it each of them
    covers."""
    ends = np.arange(new_px + 1) * (old_px / new_px)
    first, start, end = np.floor(ends[:-1, None]), ends[:-1, None], ends[1:, None]
    places = first + np.arange(int(np.ceil(old_px / new_px)) + 1)
    covered = np.minimum(places + 1, end) - np.maximum(places, start)
    return places, covered.clip(0) * (new_px / old_px)


def _neighbours(old_px: int, new_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each new pixel the two old ones around its middle; at the ends they are the
    same."""
    middles = (np.arange(new_px)[:, None] + 0.5) * (old_px / new_px) - 0.5
    places = np.floor(middles) + np.arange(2)
    return places, 1 - np.abs(middles - places)
