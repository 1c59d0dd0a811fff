"""Of which depth an image is, as far as its values tell: 10 or 12 bits are stored in 16, too."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt, UInt16

BEYOND = 0.001  # share of the pixels that may be brighter than `top`: hot ones
MOST_PIXELS_A_SIDE = 512  # that are looked at


class Depth(NamedTuple):
    """Bits of a pixel in the file, and what of them an image uses."""

    bits: int
    widened: bool  # stored in 16 bits, but each value is one of 8 bits times 257
    middle: float  # median of the pixels
    top: float


EIGHT_BITS = Depth(8, widened=False, middle=0.0, top=0.0)


def depth_of(image: UInt[np.ndarray, "h w c"]) -> Depth:
    """Look at an image; what it uses is found of 16 bits alone."""
    if image.dtype == np.uint8:
        return EIGHT_BITS
    height, width = (-(-side // MOST_PIXELS_A_SIDE) for side in image.shape[:2])
    seen = image[::height, ::width].ravel()
    widened = bool((seen >> 8 == seen & 255).all())
    places = [int((seen.size - 1) * share) for share in (0.5, 1.0 - BEYOND)]
    return Depth(16, widened, *np.partition(seen, places)[places].astype(float).tolist())


def times(brighter: Depth, darker: Depth, tolerance: float) -> int:
    """Return 4, 16, 64 or 256 where one image holds so many times the values of another, else 1.

    So do images of 10, 12, 14 and 16 bits of the same parts. A glare makes an image's brightest
    values larger and its median hardly; both must agree.

    Args:
        tolerance: factor by which either may be off, since no two images are alike.

    >>> dark, bright = (Depth(16, False, *used) for used in ((900, 3000), (14000, 50000)))
    >>> times(bright, dark, 1.3), times(bright, bright, 1.3)
    (16, 1)
    """
    if not darker.middle or not darker.top:
        return 1
    found = brighter.middle / darker.middle, brighter.top / darker.top
    for factor in (4, 16, 64, 256):
        if all(factor / tolerance < ratio < factor * tolerance for ratio in found):
            return factor
    return 1


def of_floats(
    values: Float[np.ndarray, "*pixels"], ends: Sequence[float]
) -> UInt16[np.ndarray, "*pixels"]:
    """Return float pixels in the 65536 steps between two values; the same steps for all images.

    Args:
        ends: the values that become 0 and 65535, `config.data.float_range`; empty where nobody has
            said.

    Raises:
        ValueError: nobody has said, or a pixel is no number or beyond them; says which.

    >>> of_floats(np.array([-1.0, 0.0, 1.0]), (-1.0, 1.0)).tolist()
    [0, 32768, 65535]
    """
    if not np.isfinite(values).all():
        raise ValueError("holds pixels that are no numbers: replace them")
    low, high = float(values.min()), float(values.max())
    seen = f"holds {values.dtype} values from {low:g} to {high:g}"
    if not ends:
        raise ValueError(
            f"{seen}: set config.data.float_range=(LOW, HIGH) to values that no image goes beyond, "
            "or save it with 16 bits, all images scaled by the same factor"
        )
    if low < ends[0] or high > ends[1]:
        raise ValueError(
            f"{seen}, beyond config.data.float_range={tuple(ends)}: widen that, for all images"
        )
    shares = (values.astype(np.float64) - ends[0]) / (ends[1] - ends[0])
    return np.rint(shares * 65535.0).astype(np.uint16)
