"""A training image in the rivals' frame with the random changes of ours, in NumPy and OpenCV.

Kinds and strengths are those of configs/magnetic_tile.py:cpu: see `letterbox.jitter` and
`augmentation.Augment` of defect_jax.data. An image fills the square but for what stretching leaves.
"""

from typing import NamedTuple

import cv2
import numpy as np

STRETCH = 0.15  # largest logarithm of the factor that one side gains on the other
SHIFT_PX = 3
BRIGHTNESS, CONTRAST, GAMMA, NOISE = 0.05, 0.1, 0.15, 0.01
BLUR_PX = 0.5
HALF = 0.5 - 1e-5


class Framed(NamedTuple):
    """An image in the frame, each plane [side side]."""

    image: np.ndarray  # float32, shares of the range
    mask: np.ndarray  # uint8, 1 = defective
    valid: np.ndarray  # bool, False where the frame shows padding


def shrunk_mask(mask: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """Scale a mask to height and width so that thin defects stay, as `letterbox.letterbox_mask`."""
    covered = (mask > 0).astype(np.float32)
    share = cv2.resize(covered, size_px[::-1], interpolation=cv2.INTER_AREA)
    around = cv2.dilate(share, np.ones((3, 3), np.uint8))
    return ((share > 0) & (share > HALF * around)).astype(np.uint8)


def changed(pixels: np.ndarray, mask: np.ndarray, side_px: int, rng: np.random.Generator) -> Framed:
    """Return an image uint8 [h w] and its mask, stretched, flipped, moved, in other light."""
    framed = _stretched(pixels, mask, side_px, rng)
    for axis in (1, 0):
        if rng.random() < 0.5:
            framed = Framed(*(np.flip(plane, axis) for plane in framed))
    framed = _shifted(framed, rng)
    return framed._replace(image=_in_other_light(framed.image, rng))


def _stretched(
    pixels: np.ndarray, mask: np.ndarray, side_px: int, rng: np.random.Generator
) -> Framed:
    """Scale to the square, one side a little less, anywhere in it, and mirror the rest."""
    factor = np.exp(rng.uniform(-STRETCH, STRETCH) / 2)
    height, width = (min(side_px, round(side_px * each)) for each in (factor, 1 / factor))
    top, left = rng.integers((side_px - height + 1, side_px - width + 1))
    edges = top, side_px - height - top, left, side_px - width - left
    shares = pixels.astype(np.float32) / 255
    image = cv2.resize(shares, (width, height), interpolation=cv2.INTER_AREA)
    small, valid = shrunk_mask(mask, (height, width)), np.ones((height, width), np.uint8)
    return Framed(
        cv2.copyMakeBorder(image, *edges, cv2.BORDER_REFLECT),
        cv2.copyMakeBorder(small, *edges, cv2.BORDER_CONSTANT, value=0),
        cv2.copyMakeBorder(valid, *edges, cv2.BORDER_CONSTANT, value=0) > 0,
    )


def _shifted(framed: Framed, rng: np.random.Generator) -> Framed:
    """Move by whole px, no defect out of the frame; the border is repeated and not valid."""
    window = []
    for axis in (0, 1):
        shift = int(rng.integers(-SHIFT_PX, SHIFT_PX + 1))
        defective = np.flatnonzero(framed.mask.any(1 - axis))
        if defective.size:
            last = framed.mask.shape[axis] - 1
            shift = min(max(shift, -int(defective[0])), last - int(defective[-1]))
        window.append(slice(SHIFT_PX - shift, SHIFT_PX - shift + framed.mask.shape[axis]))
    modes = ({"mode": "edge"}, {}, {})
    planes = zip(framed, modes, strict=True)
    return Framed(*(np.pad(plane, SHIFT_PX, **mode)[tuple(window)] for plane, mode in planes))


def _in_other_light(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change gamma, contrast around the middle of the range and brightness; blur every other."""
    offset, gain = rng.uniform(-BRIGHTNESS, BRIGHTNESS), 1 + rng.uniform(-CONTRAST, CONTRAST)
    exponent = np.exp(rng.uniform(-GAMMA, GAMMA))
    image = np.float32(gain) * image.clip(0, 1) ** np.float32(exponent)
    image += np.float32(0.5 - 0.5 * gain + offset)
    sigma = rng.uniform(0, 2 * BLUR_PX) - BLUR_PX
    if sigma > 0.1:  # a narrower kernel is one pixel
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    strength = np.float32(rng.uniform(0, NOISE))
    return image + strength * rng.standard_normal(image.shape, np.float32)
