"""What of an image is judged: one region for all images of a fixture, or a plane for each image.

What is outside is hidden from the network, so that nothing under it can change a decision. The
region of a fixture is part of the config, as a text: a network cannot be used without it.
"""

import base64
import binascii
import functools
import struct

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

HIDDEN, UNSURE = 1, 2  # of a pixel that is not judged; the network sees the second kind
PREFIX = "data:image/png;base64,"  # as RFC 2397 has it
MOST_CHARACTERS = 1 << 20
MOST_PX = 1 << 28  # a small PNG may say that it is enormous
SIZE_AT = 16  # of width and height in a PNG


def as_text(judged: Bool[np.ndarray, "h w"]) -> str:
    """Return a region as a text for a config; equal regions have equal texts.

    >>> as_text(np.array([[True, False]])).startswith(PREFIX)
    True
    """
    done, png = cv2.imencode(".png", judged.astype(np.uint8), [cv2.IMWRITE_PNG_BILEVEL, 1])
    if not done:
        raise ValueError(f"OpenCV could not encode a region of shape {judged.shape}")
    return PREFIX + base64.b64encode(png.tobytes()).decode()


@functools.lru_cache(maxsize=4)
def from_text(text: str) -> Bool[np.ndarray, "h w"]:
    """Return the region that `as_text` wrote; not to be written into.

    Raises:
        ValueError: it is no such text.

    >>> from_text(as_text(np.array([[True, False]]))).tolist()
    [[True, False]]
    """
    if not text.startswith(PREFIX):
        raise ValueError(f"{text[:40]!r} is no region")
    try:
        png = base64.b64decode(text.removeprefix(PREFIX), validate=True)
        width, height = struct.unpack_from(">II", png, SIZE_AT)
    except (binascii.Error, struct.error) as error:
        raise ValueError("is no region: its PNG is damaged") from error
    if not 0 < width * height <= MOST_PX:
        raise ValueError(f"is no region: {width}x{height} px are too many")
    values = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    if values is None or not values.any():
        raise ValueError("is no region: its PNG is damaged, or nothing is judged")
    judged = values > 0
    judged.flags.writeable = False
    return judged


def is_text_of_region(text: str) -> bool:
    """Return whether `from_text` can read it.

    >>> is_text_of_region(as_text(np.array([[True]]))), is_text_of_region(f"{PREFIX}x")
    (True, False)
    """
    try:
        from_text(text)
    except (ValueError, cv2.error):
        return False
    return True


def without(
    maps: Float32[np.ndarray, "h w classes"], hidden: Bool[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w classes"]:
    """Return probabilities that are 0 where the image is hidden."""
    return np.where(hidden[..., None], np.float32(0.0), maps)


def together(
    ignored: UInt8[np.ndarray, "h w"] | None, judged: Bool[np.ndarray, "h w"] | None
) -> UInt8[np.ndarray, "h w"] | None:
    """Return what is not judged for either reason; None where all is.

    >>> together(np.array([[UNSURE, 0]], np.uint8), np.array([[False, True]])).tolist()
    [[1, 0]]
    """
    if judged is None or judged.all():
        return ignored if ignored is not None and ignored.any() else None
    outside = np.where(judged, 0, HIDDEN).astype(np.uint8)
    return outside if ignored is None else np.where(judged, ignored, outside)
