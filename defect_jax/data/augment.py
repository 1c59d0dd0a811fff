"""Random changes that leave a part's truth as it is: the mask moves with the picture.

Every change is small, and none can push a defect out of the frame: shifts are limited by the
defect's own bounding box.
"""

import dataclasses
from typing import Any

import cv2
import grain
import numpy as np


@dataclasses.dataclass(frozen=True)
class Augment(grain.transforms.RandomMap):
    """Flips, small shifts, brightness, contrast, gamma, noise and mild blur of one element.

    Attributes:
        flip_horizontal, flip_vertical: flip with probability one half.
        shift_px: largest shift along each axis.
        brightness: largest change, as a share of the full range.
        contrast: largest relative change of contrast around the middle of the picture's range.
        gamma: largest exponent's logarithm; 0.2 draws exponents from 0.82 to 1.22.
        noise: largest standard deviation of the added noise, as a share of the full range.
        blur_px: largest standard deviation of the blur.
    """

    flip_horizontal: bool
    flip_vertical: bool
    shift_px: int
    brightness: float
    contrast: float
    gamma: float
    noise: float
    blur_px: float

    def random_map(self, element: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        planes = {name: element[name] for name in ("image", "mask", "valid")}
        if self.flip_horizontal and rng.random() < 0.5:
            planes = {name: plane[:, ::-1] for name, plane in planes.items()}
        if self.flip_vertical and rng.random() < 0.5:
            planes = {name: plane[::-1] for name, plane in planes.items()}
        if self.shift_px:
            planes = _shift(planes, self.shift_px, rng)
        image = np.ascontiguousarray(planes["image"])
        image = _tones(image, self.brightness, self.contrast, self.gamma, rng)
        image = _blur(image, self.blur_px, rng)
        image = _noise(image, self.noise, rng)
        return element | planes | {"image": image}


def _shift(
    planes: dict[str, np.ndarray], shift_px: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Moves every plane by the same whole number of px, border repeated, padding not valid."""
    rows, columns = (np.flatnonzero(planes["mask"].any(axis=axis)) for axis in (1, 0))
    height, width = planes["mask"].shape
    down = _limited(int(rng.integers(-shift_px, shift_px + 1)), rows, height)
    right = _limited(int(rng.integers(-shift_px, shift_px + 1)), columns, width)
    from_row = np.arange(height) - down
    from_column = np.arange(width) - right
    inside = ((from_row >= 0) & (from_row < height))[:, None] & (
        (from_column >= 0) & (from_column < width)
    )
    index = np.ix_(from_row.clip(0, height - 1), from_column.clip(0, width - 1))
    moved = {name: plane[index] for name, plane in planes.items()}
    return moved | {"mask": moved["mask"] * inside, "valid": moved["valid"] & inside}


def _limited(shift_px: int, occupied: np.ndarray, length: int) -> int:
    """Cuts a shift so that the defect, which spans `occupied`, stays inside 0 … length - 1."""
    if occupied.size == 0:
        return shift_px
    return int(np.clip(shift_px, -occupied[0], length - 1 - occupied[-1]))


def _tones(
    image: np.ndarray, brightness: float, contrast: float, gamma: float, rng: np.random.Generator
) -> np.ndarray:
    """Brightness, contrast and gamma in one look-up table over all values the pixels can have."""
    top = np.iinfo(image.dtype).max
    offset = rng.uniform(-brightness, brightness)
    gain = 1.0 + rng.uniform(-contrast, contrast)
    exponent = np.exp(rng.uniform(-gamma, gamma))
    values = np.linspace(0.0, 1.0, top + 1) ** exponent
    values = (values - 0.5) * gain + 0.5 + offset
    table = np.rint(values.clip(0.0, 1.0) * top).astype(image.dtype)
    return table[image]


def _blur(image: np.ndarray, blur_px: float, rng: np.random.Generator) -> np.ndarray:
    """Blurs every other picture; the others keep the sharpness they came with."""
    sigma = rng.uniform(0.0, 2.0 * blur_px) - blur_px
    if sigma <= 0.1:  # a narrower kernel is one pixel: nothing would change
        return image
    return cv2.GaussianBlur(image, (0, 0), sigma).reshape(image.shape)


def _noise(image: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Adds Gaussian noise of a random strength, equal in all channels."""
    if noise == 0.0:
        return image
    top = np.iinfo(image.dtype).max
    grain_ = rng.standard_normal(image.shape[:2], np.float32)[..., None]
    noisy = image + rng.uniform(0.0, noise) * top * grain_
    return np.rint(noisy.clip(0, top)).astype(image.dtype)
