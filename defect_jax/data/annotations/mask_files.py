"""Masks of several classes as pictures that two kinds of readers understand.

They are palette PNG: the indices are the ids of the classes, and all colours but that of the
background are far from black and from each other. So `folder` reads "defective or not" by the
colours, kinds of defect by the indices, and a person sees which is which.
"""

import io
from itertools import product

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from defect_jax.data.files.class_masks import MOST_CLASSES

LEVELS = (2, 3, 5, 7)  # of each channel; the first colours have 0 and 255 alone


def palette() -> list[tuple[int, int, int]]:
    """Return a colour for the background and for each class.

    >>> palette()[:4]
    [(0, 0, 0), (0, 0, 255), (0, 255, 0), (0, 255, 255)]
    """
    colours: dict[tuple[int, int, int], None] = {}
    for count in LEVELS:
        shades = [round(level * 255 / (count - 1)) for level in range(count)]
        colours |= dict.fromkeys(product(shades, repeat=3))
    return list(colours)[: MOST_CLASSES + 1]


def encode_classes_in_colour(ids: UInt8[np.ndarray, "h w"]) -> bytes:
    """Encode class ids as a palette PNG, without loss."""
    image = Image.frombytes("P", ids.shape[::-1], np.ascontiguousarray(ids).tobytes())
    image.putpalette([channel for colour in palette() for channel in colour])
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
