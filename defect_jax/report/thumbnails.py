"""Pictures small enough for a page: plain JPEGs within a number of bytes."""

import math

import cv2
import numpy as np
from jaxtyping import UInt, UInt8

LONGER_SIDE_PX = 480
SMALLEST_SIDE_PX = 64  # noise of that size is below three kilobytes, so a limit is always met
BEST_QUALITY, LOWEST_QUALITY = 85, 55


def thumbnail(image: UInt[np.ndarray, "h w c"], longer_side_px: int, limit: int) -> bytes:
    """A JPEG of at most `limit` bytes where `SMALLEST_SIDE_PX` allows it; never an enlargement.

    First the quality falls, which shows less than the same saving in pixels; then the side, by as
    much as the last attempt was too large.
    """
    side, quality = longer_side_px, BEST_QUALITY
    image = to_8_bit(_shrunk(image, side))
    while True:
        image = _shrunk(image, side)
        jpeg = _encode(image, quality)
        if len(jpeg) <= limit or side <= SMALLEST_SIDE_PX:
            return jpeg
        if quality > LOWEST_QUALITY:
            quality = LOWEST_QUALITY
        else:
            fitting = int(max(image.shape) * 0.95 * math.sqrt(limit / len(jpeg)))
            side = max(SMALLEST_SIDE_PX, fitting)


def to_8_bit(image: UInt[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
    """Leaves 8-bit pictures as they are; stretches deeper ones between their outer percentiles.

    A 16-bit camera often uses a small part of its range, which would be a black picture.

    >>> to_8_bit(np.array([[[1000], [1100], [1200]]], np.uint16)).ravel().tolist()
    [0, 127, 255]
    """
    if image.dtype == np.uint8:
        return image
    low, high = np.percentile(image, (0.5, 99.5))
    stretched = (image.astype(np.float64) - low) / max(high - low, 1.0)
    return (np.clip(stretched, 0.0, 1.0) * 255).astype(np.uint8)


def _shrunk(image: np.ndarray, side: int) -> np.ndarray:
    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if scale < 1.0:
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image.reshape(size[1], size[0], -1)  # resize drops the axis of a single channel


def _encode(image: np.ndarray, quality: int) -> bytes:
    bgr = image[..., ::-1]  # of one channel: itself
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return cv2.imencode(".jpg", np.ascontiguousarray(bgr), settings)[1].tobytes()
