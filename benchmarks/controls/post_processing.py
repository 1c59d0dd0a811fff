"""Trivial post-processing of a network's own masks: what a module that fills gaps has to beat.

A control smooths the probability maps of a trained network or mends its masks, and is judged on the
same test images.
"""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from defect_jax.runtime.errors import UserError

Maps = Float32[np.ndarray, "classes h w"]  # probability of each class of defect
Mask = Bool[np.ndarray, "h w"]
OUTSIDE = 2  # not a mask's value: what the flood from the corner has reached


def unchanged(array: np.ndarray) -> np.ndarray:
    """Return the masks as they are: neither smoothed nor mended."""
    return array


@dataclasses.dataclass(frozen=True)
class Control:
    """Post-processing of one image at its native size.

    Attributes:
        name: of the folder of its cells.
        title: in the table.
        smooth: float32 [classes h w] -> the same shape, before the threshold.
        mend: bool [h w] -> the same shape, after it.

    Both must be functions with names of their own, or compare and print by their values: by that a
    finished cell is told from one of another control.
    """

    name: str
    title: str
    smooth: Callable[[np.ndarray], np.ndarray] = unchanged
    mend: Callable[[np.ndarray], np.ndarray] = unchanged

    def described(self) -> dict[str, str]:
        """Return `smooth` and `mend` in words, for control.json.

        >>> Control("closing_3", "closing 3 px", mend=closing(3)).described()
        {'smooth': 'unchanged', 'mend': 'closed(3 px)'}
        """
        functions = {"smooth": self.smooth, "mend": self.mend}
        return {kind: getattr(f, "__name__", str(f)) for kind, f in functions.items()}


@dataclasses.dataclass(frozen=True)
class _OfSide:
    """A function with the side of its window: equal to another of the same, unlike a closure."""

    function: Callable[[np.ndarray, int], np.ndarray]
    side_px: int

    def __post_init__(self):
        if self.side_px < 1 or self.side_px % 2 == 0:
            raise UserError(f"control {self}: a window has an odd side, or the mask would shift")

    def __call__(self, array: np.ndarray) -> np.ndarray:
        return self.function(array, self.side_px)

    def __str__(self) -> str:
        return f"{self.function.__name__}({self.side_px} px)"


def closing(side_px: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a `mend`: closes gaps narrower than a square window.

    Raises:
        UserError: the side is not odd.
    """
    return _OfSide(closed, side_px)


def blur(side_px: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a `smooth`: each probability becomes the mean over a square window.

    Raises:
        UserError: the side is not odd.
    """
    return _OfSide(blurred, side_px)


def closed(mask: Mask, side_px: int) -> Mask:
    """Close morphologically; it takes nothing away, at the border of the image neither.

    >>> closed(np.array([[True, False, True, False]]), 3).tolist()
    [[True, True, True, False]]
    """
    # OpenCV holds what is outside for marked when it erodes: a mask near the border would be
    # drawn to it. With a frame of its own, the image ends in background.
    framed = cv2.copyMakeBorder(mask.view(np.uint8), *[side_px] * 4, cv2.BORDER_CONSTANT, value=0)
    window = np.ones((side_px, side_px), np.uint8)
    whole = cv2.morphologyEx(framed, cv2.MORPH_CLOSE, window)
    return whole[side_px:-side_px, side_px:-side_px] > 0


def fill_holes(mask: Mask) -> Mask:
    """Return a `mend`: marks background that has no 4-connected way to the border of the image.

    As `scipy.ndimage.binary_fill_holes`, in a tenth of the time: choosing a threshold calls it once
    for each image and candidate.

    >>> fill_holes(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]]) > 0).all()
    np.True_
    """
    framed = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(framed, None, (0, 0), OUTSIDE)
    return framed[1:-1, 1:-1] != OUTSIDE


def blurred(maps: Maps, side_px: int) -> Maps:
    """Return the mean over a window of each map, mirrored at the border of the image.

    >>> blurred(np.array([[[0.0, 0.0, 0.9]]], np.float32), 3).round(1).tolist()
    [[[0.0, 0.3, 0.6]]]
    """
    window = (side_px, side_px)
    means = [cv2.blur(plane, window, borderType=cv2.BORDER_REFLECT) for plane in maps]
    return np.stack(means).clip(0.0, 1.0)  # running sums may miss the ends by a rounding


CONTROLS = (
    Control("closing_3", "control: closing 3 px", mend=closing(3)),
    Control("closing_5", "control: closing 5 px", mend=closing(5)),
    Control("fill_holes", "control: holes filled", mend=fill_holes),
    Control("blur_5", "control: blur 5 px", smooth=blur(5)),
)
