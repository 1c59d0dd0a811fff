"""What is drawn over an image: the outlines of its defects, and the heat map as a tint.

The line runs outside a defect and hides nothing of it; the tint lets the surface through.
"""

import cv2
import numpy as np
from jaxtyping import Bool, UInt, UInt8

from defect_jax.report.colours import DECIDED_RGB, HEAT_RGBA
from defect_jax.report.thumbnails import to_8_bit

GAP_PX = 3  # between a defect and its outline, or the outline of a hair crack would hide it
RIM_RGB = (16, 20, 24)  # parts the line from any surface
QUALITY = 90
MOST_JPEG_PX = 65_500  # of a side; OpenCV writes no more, and says so by an empty file
LAYER_SIDE_PX = 240  # of a heat map on a page, where it is smooth
LAYER_LEVELS = 16  # so few that it takes a tenth of the bytes, and none is seen


def overlay(
    image: UInt[np.ndarray, "h w c"],
    marked: Bool[np.ndarray, "h w"],
    heat: UInt8[np.ndarray, "h w"] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image in RGB with the outlines of its defects.

    Args:
        image: of 8 or 16 bits.
        heat: of `decision.heat`, drawn below the outlines; None: none is.

    >>> surface = np.full((20, 20, 1), 128, np.uint8)
    >>> overlay(surface, np.arange(400).reshape(20, 20) == 210).shape
    (20, 20, 3)
    """
    seen = to_8_bit(image)
    canvas = cv2.cvtColor(seen, cv2.COLOR_GRAY2RGB) if seen.shape[2] == 1 else seen.copy()
    if heat is not None:
        canvas = tinted(canvas, heat)
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, [2 * GAP_PX + 1] * 2)
    grown = cv2.dilate(marked.astype(np.uint8), element)
    contours, _ = cv2.findContours(grown, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for colour, thickness_px in ((RIM_RGB, 3), (DECIDED_RGB, 1)):
        cv2.drawContours(canvas, contours, -1, colour, thickness_px)
    return canvas


def tinted(
    image: UInt8[np.ndarray, "h w 3"], heat: UInt8[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image in RGB with the colours of its heat, as opaque as `HEAT_RGBA` has them.

    >>> tinted(np.full((1, 1, 3), 100, np.uint8), np.zeros((1, 1), np.uint8)).tolist()
    [[[100, 100, 100]]]
    """
    opacity = HEAT_RGBA[:, 3:]
    paint = np.rint(HEAT_RGBA[:, :3] * (opacity / 255)).astype(np.uint8)
    kept = cv2.LUT(heat, 255 - opacity)  # in bytes throughout: an image may have 100 megapixels
    channels = [
        cv2.add(cv2.multiply(plane, kept, scale=1 / 255), cv2.LUT(heat, paint[:, channel].copy()))
        for channel, plane in enumerate(cv2.split(image))
    ]
    return cv2.merge(channels)


def as_jpeg(canvas: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Return a JPEG at the image's own size, or at the largest that a JPEG can have.

    >>> as_jpeg(np.zeros((20, 20, 3), np.uint8))[:2].hex()
    'ffd8'
    """
    shrink = MOST_JPEG_PX / max(canvas.shape[:2])
    if shrink < 1:
        size = [max(1, int(side * shrink)) for side in canvas.shape[1::-1]]
        canvas = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def heat_layer(heat: UInt8[np.ndarray, "h w"]) -> bytes:
    """Return the tint alone as a PNG, at most `LAYER_SIDE_PX` wide and high, to lie over an image.

    >>> heat_layer(np.full((300, 400), 200, np.uint8))[1:4]
    b'PNG'
    """
    shrink = min(1.0, LAYER_SIDE_PX / max(heat.shape))
    size = [max(1, round(side * shrink)) for side in heat.shape[::-1]]
    small = cv2.resize(heat, size, interpolation=cv2.INTER_AREA)
    step = 256 // LAYER_LEVELS
    tint = HEAT_RGBA[small // step * step + step // 2]
    return cv2.imencode(".png", cv2.cvtColor(tint, cv2.COLOR_RGBA2BGRA))[1].tobytes()
