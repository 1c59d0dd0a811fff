"""Channels of an image: grey in fact, grey as colour, and the lights of one shot in one image.

A light is one image of a shot: grey (1 channel) or RGB (3). A shot of several has their channels
one light after the other.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Shaped

MOST_CHANNELS = 16
COLOURS = ("red", "green", "blue")
SOME_ROWS = 32


def grey_if_it_is(pixels: Shaped[np.ndarray, "h w c"]) -> Shaped[np.ndarray, "h w _"]:
    """Return one channel of an image whose channels are all the same, any other as it is.

    >>> grey_if_it_is(np.full((2, 2, 3), 7)).shape, grey_if_it_is(np.eye(3)[None]).shape
    ((2, 2, 1), (1, 3, 3))
    """
    some = pixels[::SOME_ROWS]  # which tell of nearly every picture in colour that it is
    if (some != some[..., :1]).any() or (pixels != pixels[..., :1]).any():
        return pixels
    return np.ascontiguousarray(pixels[..., :1])


def in_channels(pixels: Shaped[np.ndarray, "h w c"], count: int) -> np.ndarray | None:
    """Return a light with so many channels; None where that would lose colours.

    >>> in_channels(np.full((1, 1, 1), 7, np.uint8), 3).ravel().tolist()
    [7, 7, 7]
    """
    if (pixels.shape[2], count) == (len(COLOURS), 1):
        pixels = grey_if_it_is(pixels)
    if pixels.shape[2] == count:
        return pixels
    return cv2.merge([pixels] * count) if pixels.shape[2] == 1 else None


def in_one(lights: Sequence[Shaped[np.ndarray, "h w _"]]) -> Shaped[np.ndarray, "h w c"]:
    """Return one image with the channels of all lights, in their order."""
    return lights[0] if len(lights) == 1 else np.concatenate(lights, axis=2)


def channel_names(lights: Sequence[int]) -> list[str]:
    """Return what each channel is.

    Args:
        lights: channels of each light.

    >>> channel_names([1]), channel_names([3]), channel_names([1, 3])[:3]
    (['grey'], ['red', 'green', 'blue'], ['light 1', 'light 2 red', 'light 2 green'])
    """
    if len(lights) == 1:
        return ["grey"] if lights[0] == 1 else list(COLOURS)
    return [
        f"light {number}{f' {colour}' if colour else ''}"
        for number, count in enumerate(lights, 1)
        for colour in (COLOURS if count == len(COLOURS) else ("",))
    ]


def to_show(pixels: Shaped[np.ndarray, "h w c"]) -> Shaped[np.ndarray, "h w _"]:
    """Return grey or RGB for people to see: of more lights their mean."""
    if pixels.shape[2] in (1, len(COLOURS)):
        return pixels
    mean = pixels.mean(axis=2, keepdims=True, dtype=np.float32)
    return np.rint(mean).astype(pixels.dtype)
