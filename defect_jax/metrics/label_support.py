"""What a network's probabilities say of a drawn mask: sums of an image, on the device or in strips.

The score of the whole mask is that of Lad & Mueller, "Estimating label quality and errors in
semantic segmentation data via any model" (arXiv 2307.05080, section 3, "softmin"): the probability
that each pixel is as it was labelled, averaged with weights that fall steeply with it, so that few
surely wrong pixels count more than many rightly labelled ones. The others ask what is seen inside
of the mask, and what outside of it. Outlines are never drawn to the pixel, so what is near to the
mask is neither.

The same lines run on NumPy arrays (strips of a large image) and inside JAX programs.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

SOFTMIN_TEMPERATURE = 0.1  # of the paper
EDGE_PX = 4  # of the network's frame: how far outlines may be off


class LabelSupport(NamedTuple):
    """Sums of an image, or of a strip of one; "..." is the axis of images."""

    softmin_weight: Any  # "...", float32
    softmin_sum: Any  # "...", float32: of weight times probability of the given label
    inside_sum: Any  # "...", float32: of the defect probability of the mask's pixels
    inside_highest: Any  # "...", float32: its maximum; 0 without a mask
    outside_sum: Any  # "...", float32: of that of the marked pixels away from the mask
    outside_px: Any  # "...", int32: how many these are

    def merged(self, other: "LabelSupport") -> "LabelSupport":
        """Return the sums of two strips together."""
        both = {name: getattr(self, name) + getattr(other, name) for name in self._fields}
        highest = max(self.inside_highest, other.inside_highest)
        return LabelSupport(**both | {"inside_highest": highest})


def label_support(
    probability: Float[Any, "*b h w"],
    mask: Bool[Any, "*b h w"],
    near: Bool[Any, "*b h w"],
    marked: Bool[Any, "*b h w"],
    valid: Bool[Any, "*b h w"],
) -> LabelSupport:
    """Return the sums of every image.

    Args:
        probability: of any defect.
        mask: as it was drawn.
        near: the mask and what is close to it, as `grown` or `grown_on_host` returns it.
        marked: pixels that reach the pixel threshold.
        valid: False where a pixel is padding.

    >>> probability = np.array([[[0.9, 0.5, 0.1, 0.8]]], np.float32)
    >>> mask = np.array([[[True, False, False, False]]])
    >>> marked, valid = probability >= 0.5, np.ones_like(mask)
    >>> found = label_support(probability, mask, grown_on_host(mask[0], 1)[None], marked, valid)
    >>> {name: round(float(value[0]), 3) for name, value in found._asdict().items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'softmin_weight': 0.142, 'softmin_sum': 0.031, 'inside_sum': 0.9, 'inside_highest': 0.9,
     'outside_sum': 0.8, 'outside_px': 1.0}
    """
    xp = probability.__array_namespace__()
    given = xp.where(mask, probability, 1.0 - probability)
    weight = xp.where(valid, xp.exp(-given / SOFTMIN_TEMPERATURE), 0.0)
    inside = xp.where(mask & valid, probability, 0.0)
    apart = valid & marked & ~near
    axes = {"axis": (-2, -1)}
    return LabelSupport(
        softmin_weight=weight.sum(**axes),
        softmin_sum=(weight * given).sum(**axes),
        inside_sum=inside.sum(**axes),
        inside_highest=inside.max(**axes),
        outside_sum=xp.where(apart, probability, 0.0).sum(**axes),
        outside_px=apart.sum(**axes, dtype=xp.int32),
    )


def grown(mask: Bool[Array, "b h w"], reach_px: int) -> Bool[Array, "b h w"]:
    """Return what is at most `reach_px` rows and columns away from the masks, inside a program.

    >>> import jax.numpy as jnp
    >>> row = jnp.array([[[True, False, False, False, False, True, False]]])
    >>> grown(row, 1).astype(int).tolist()
    [[[1, 1, 0, 0, 1, 1, 1]]]
    """
    width = 2 * reach_px + 1
    for window in ((1, 1, width), (1, width, 1)):
        mask = lax.reduce_window(mask, False, lax.bitwise_or, window, (1, 1, 1), "SAME")
    return mask


def grown_on_host(mask: Bool[np.ndarray, "h w"], reach_px: int) -> Bool[np.ndarray, "h w"]:
    """Return the same of one mask, in NumPy.

    >>> grown_on_host(np.array([[True, False, False, False, False, True, False]]), 1).astype(int)
    array([[1, 1, 0, 0, 1, 1, 1]])
    """
    square = np.ones([2 * reach_px + 1] * 2, np.uint8)
    return cv2.dilate(mask.astype(np.uint8), square) > 0


def edge_reach_px(native_px: tuple[int, int], frame_px: tuple[int, int]) -> int:
    """Return how far outlines may be off in an image, whose frame may be smaller than it.

    >>> edge_reach_px((400, 600), (192, 192)), edge_reach_px((100, 100), (192, 192))
    (12, 4)
    """
    scale = max(native / frame for native, frame in zip(native_px, frame_px, strict=True))
    return round(EDGE_PX * max(1.0, scale))
