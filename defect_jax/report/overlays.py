"""A picture with the outlines of its true and its predicted defects, small enough for a page."""

import cv2
import numpy as np
from jaxtyping import Bool, UInt, UInt8

LONGER_SIDE_PX = 480
LARGEST_ENLARGEMENT = 3.0  # a picture of 100 pixels stays recognisable as a small one
LARGEST_JPEG_BYTES = 150_000  # sixty of them, in base64, stay below 15 MB
QUALITIES = (85, 70, 50, 30)
# Colour at half the resolution, JPEG's default, smears lines of two pixels.
FULL_COLOUR = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
DASH_PX = 7
GAP_PX = 3  # between a defect and its outline, or the outline of a hair crack would hide it
TRUE_COLOUR = (0, 158, 255)  # RGB; blue and yellow stay apart for every kind of colour blindness
PREDICTED_COLOUR = (255, 200, 0)


def overlay_jpeg(
    image: UInt[np.ndarray, "h w c"],
    true_mask: Bool[np.ndarray, "h w"],
    predicted_mask: Bool[np.ndarray, "h w"],
) -> bytes:
    """Draws both outlines and returns a JPEG with a longer side of at most 480 pixels.

    The true outline is solid, the predicted one dashed and drawn over it, so that both can be seen
    where they coincide and told apart without colour. Outlines run outside the defect and hide
    nothing of it.
    """
    height, width = image.shape[:2]
    scale = min(LONGER_SIDE_PX / max(height, width), LARGEST_ENLARGEMENT)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = _to_rgb(cv2.resize(to_8_bit(image), size, interpolation=shrink))
    _draw(canvas, _resized(true_mask, size), TRUE_COLOUR, dashed=False)
    _draw(canvas, _resized(predicted_mask, size), PREDICTED_COLOUR, dashed=True)
    return _encode(canvas)


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


def _to_rgb(image: np.ndarray) -> np.ndarray:
    if image.ndim == 2 or image.shape[2] == 1:  # resize drops the axis of a single channel
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(image)


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A pixel is set when any pixel below it is: a hair crack must not vanish from the page."""
    grown = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    enlarged = size[0] > mask.shape[1]
    return (grown > (0.5 if enlarged else 0.0)).astype(np.uint8)


def _draw(canvas: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], dashed: bool) -> None:
    """Draws the outline just outside the mask, with a dark rim that parts it from any surface."""
    padded = cv2.copyMakeBorder(mask, *[GAP_PX + 2] * 4, cv2.BORDER_CONSTANT, value=0)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, [2 * GAP_PX + 1] * 2)
    grown = cv2.dilate(padded, disc)
    contours, _ = cv2.findContours(grown, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    line = np.zeros_like(padded)
    for contour in contours:
        points = contour[:, 0]
        if dashed and len(points) > 2 * DASH_PX:
            points = points[np.arange(len(points)) // DASH_PX % 2 == 0]
        line[points[:, 1], points[:, 0]] = 1
    inside = slice(GAP_PX + 2, -GAP_PX - 2)
    core = cv2.dilate(line, np.ones((2, 2), np.uint8))[inside, inside] > 0
    rim = cv2.dilate(line, np.ones((4, 4), np.uint8))[inside, inside] > 0
    canvas[rim & ~core] = (canvas[rim & ~core] * 0.35).astype(np.uint8)
    canvas[core] = colour


def _encode(canvas: np.ndarray) -> bytes:
    """Lowers the quality until a noisy picture fits, too."""
    for quality in QUALITIES:
        settings = [cv2.IMWRITE_JPEG_QUALITY, quality, *FULL_COLOUR]
        jpeg = cv2.imencode(".jpg", canvas[..., ::-1], settings)[1]
        if jpeg.size <= LARGEST_JPEG_BYTES:
            break
    return jpeg.tobytes()
