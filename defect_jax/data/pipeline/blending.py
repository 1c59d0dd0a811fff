"""One image into another without a seam: brightness follows the place, the border is soft."""

import cv2
import numpy as np
from jaxtyping import Bool, Float32

MARGIN_PX = 1  # around the mask, whose own edge is not exact
FEATHER_PX = 1.0  # standard deviation of the soft border
RING_PX = 5  # of surface around the margin, by which the piece is matched
BESIDE_PX = MARGIN_PX + RING_PX + 3  # that a window needs around the mask
LEAST_RING_PX = 16  # pixels, to measure brightness by
MOST_GAIN = 3.0  # up or down
DARK = 0.05  # share of the range below which a ratio of brightness says nothing
Patch = Float32[np.ndarray, "h w c"]


def blended(
    piece: Patch,
    surface: Patch,
    inside: Bool[np.ndarray, "h w"],
    valid: Bool[np.ndarray, "h w"],
) -> Patch | None:
    """Return the surface with what the piece shows inside the mask.

    Less light makes a surface and what is on it darker by one factor: that of the ring around the
    mask. The difference that is left there, smoothed, is added to all of the piece, as a Poisson
    equation does with the values at a border (Pérez et al. 2003, section 2), here for any number of
    channels and any range. The border is soft, and outside the mask.

    Args:
        inside: the mask.
        valid: where both images show something.

    Returns:
        None where there is too little around the mask to match by.
    """
    margin = _grown(inside, MARGIN_PX)
    ring = _grown(margin, RING_PX) & ~margin & valid
    if np.count_nonzero(ring) < LEAST_RING_PX:
        return None
    low, high = min(0.0, piece.min(), surface.min()), max(1.0, piece.max(), surface.max())
    matched = piece * np.float32(_gain(piece[ring], surface[ring]))
    matched = matched + _smooth(surface - matched, ring, np.sqrt(np.count_nonzero(margin)))
    opacity = cv2.GaussianBlur(margin.astype(np.float32), (0, 0), FEATHER_PX)
    opacity = np.maximum(opacity, inside)[..., None] * valid[..., None]
    return surface + opacity * (matched.clip(low, high) - surface)


def _grown(plane: Bool[np.ndarray, "h w"], px: int) -> Bool[np.ndarray, "h w"]:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * px + 1,) * 2)
    return cv2.dilate(plane.view(np.uint8), disc).view(bool)


def _gain(piece: Float32[np.ndarray, "n c"], surface: Float32[np.ndarray, "n c"]) -> float:
    """Return how much brighter the surface is than what is around the piece.

    >>> light = np.ones((1, 1), np.float32)
    >>> _gain(0.5 * light, 0.75 * light), _gain(0.05 * light, light)
    (1.5, 3.0)
    """
    gain = max(DARK, surface.mean()) / max(DARK, piece.mean())
    return float(np.clip(gain, 1 / MOST_GAIN, MOST_GAIN))


def _smooth(values: Patch, ring: Bool[np.ndarray, "h w"], extent_px: float) -> Patch:
    """Return a smooth field through what the values are on the ring, over all of the patch.

    Args:
        extent_px: of what the ring is around: the field varies over about half of that.
    """
    sigma, known = max(RING_PX, 0.5 * extent_px), ring.astype(np.float32)
    weight = cv2.GaussianBlur(known, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    total = cv2.GaussianBlur(
        values * known[..., None], (0, 0), sigma, borderType=cv2.BORDER_CONSTANT
    ).reshape(values.shape)
    mean = values[ring].mean(axis=0)
    faint = np.float32(1e-6)  # far from the ring the mean of all of it
    return (total + faint * mean) / (weight + faint)[..., None]
