"""A picture with its decided defects outlined, to look at."""

import cv2
import numpy as np
from jaxtyping import Bool, UInt

from defect_jax.report.colours import DECIDED_RGB
from defect_jax.report.thumbnails import to_8_bit

GAP_PX = 3  # between a defect and its outline, or the outline of a hair crack would hide it
RIM_RGB = (16, 20, 24)  # parts the line from any surface
QUALITY = 90


def overlay(image: UInt[np.ndarray, "h w c"], marked: Bool[np.ndarray, "h w"]) -> bytes:
    """Return a JPEG at the picture's own size.

    The line runs outside the defect and hides nothing of it.

    >>> surface = np.full((20, 20, 1), 128, np.uint8)
    >>> drawn = overlay(surface, np.arange(400).reshape(20, 20) == 210)
    >>> cv2.imdecode(np.frombuffer(drawn, np.uint8), cv2.IMREAD_COLOR).shape
    (20, 20, 3)
    """
    seen = to_8_bit(image)
    canvas = cv2.cvtColor(seen, cv2.COLOR_GRAY2BGR if seen.shape[2] == 1 else cv2.COLOR_RGB2BGR)
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, [2 * GAP_PX + 1] * 2)
    grown = cv2.dilate(marked.astype(np.uint8), element)
    contours, _ = cv2.findContours(grown, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for colour, thickness_px in ((RIM_RGB, 3), (DECIDED_RGB, 1)):
        cv2.drawContours(canvas, contours, -1, colour[::-1], thickness_px)
    return cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
