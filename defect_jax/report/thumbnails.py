"""Images small enough for a page: JPEGs that share the bytes of the page among them."""

import math
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import UInt, UInt8
from markupsafe import Markup

from defect_jax.data.geometry.channels import to_show

LONGER_SIDE_PX = 480
SMALLEST_SIDE_PX = 64  # noise of that size is below three kilobytes, so a limit is always met
BEST_QUALITY, LOWEST_QUALITY = 85, 55
PAGE_BYTES = 14_200_000  # of 15 MB; the rest is for plots, tables and script
OTHER_SIDE_PX = 320  # of images that are decided rightly and surely
TELLING_WEIGHT = 4  # an image that was decided wrongly is worth four that were not
LARGEST_BYTES, LEAST_BYTES = 150_000, 6_000
CARD_BYTES = 2_200  # what a card costs beside its image, roughly


def thumbnail(image: UInt[np.ndarray, "h w c"], longer_side_px: int, limit: int) -> bytes:
    """Return a JPEG of at most `limit` bytes where `SMALLEST_SIDE_PX` allows it.

    It is never larger than the image itself.

    First the quality falls, which shows less than the same saving in pixels; then the side, by as
    much as the last attempt was too large.
    """
    side, quality = longer_side_px, BEST_QUALITY
    image = to_8_bit(_shrunk(to_show(image), side))
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


def to_8_bit(image: UInt[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w _"]:
    """Leave 8-bit images as they are; stretch deeper ones between their outer percentiles.

    Of several lights the mean is shown.

    A 16-bit camera often uses a small part of its range, which would be a black image.

    >>> to_8_bit(np.array([[[1000], [1100], [1200]]], np.uint16)).ravel().tolist()
    [0, 127, 255]
    """
    image = to_show(image)
    if image.dtype == np.uint8:
        return image
    low, high = np.percentile(image, (0.5, 99.5))
    stretched = (image.astype(np.float64) - low) / max(high - low, 1.0)
    return (np.clip(stretched, 0.0, 1.0) * 255).astype(np.uint8)


def most_images(row_bytes: int) -> int:
    """Return how many images get a card, so that none has less than `LEAST_BYTES`.

    >>> most_images(0), most_images(4_200_000)
    (1392, 980)
    """
    each = LEAST_BYTES * 4 // 3 + CARD_BYTES
    return max(0, PAGE_BYTES - row_bytes) // each


def share_out(
    telling: Sequence[bool], row_bytes: int, show: Callable[[int, int, int], Markup]
) -> Iterator[Markup]:
    """Yield `show(index, longer_side_px, limit)` of each, what one leaves going to the others.

    Args:
      telling: whether an image was decided wrongly or nearly so, in the order of the images.
      row_bytes: of the page, already spent on the numbers of all images.
      show: makes the card of an image whose JPEG has at most `limit` bytes.
    """
    left = PAGE_BYTES - row_bytes
    weights = [TELLING_WEIGHT if is_telling else 1 for is_telling in telling]
    weight_left = sum(weights)
    for index, weight in enumerate(weights):
        for_jpegs = (left - CARD_BYTES * (len(weights) - index)) * 3 / 4  # base64 is a third longer
        fair = for_jpegs * weight / weight_left
        side = LONGER_SIDE_PX if telling[index] else OTHER_SIDE_PX
        card = show(index, side, int(min(max(fair, 1_000), LARGEST_BYTES)))
        left -= len(card.encode())
        weight_left -= weight
        yield card


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
