"""Random changes that leave a part's truth as it is: the mask moves with the image.

Every change is small, and none can push a defect out of the frame: shifts are limited by the
defect's own bounding box.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import cv2
import grain
import numpy as np
from jaxtyping import Float32
from scipy import special

STRIP_BYTES = 2**16
Frame = Float32[np.ndarray, "h w c"]  # shares of the measured range


@dataclasses.dataclass(frozen=True)
class Augment(grain.transforms.RandomMap):
    """Flips, small shifts, brightness, contrast, gamma, noise and mild blur of one element.

    Attributes:
        flip_horizontal, flip_vertical: flip with probability one half.
        shift_px: largest shift along each axis.
        brightness: largest change, as a share of the measured range.
        contrast: largest relative change of contrast around the middle of that range.
        gamma: largest exponent's logarithm; 0.2 draws exponents from 0.82 to 1.22.
        noise: largest standard deviation of the added noise, as a share of the measured range.
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
        # A mask without a defect is the same wherever it moves.
        is_drawn = element["label"] and element["masked"]
        moving = ("image", "valid", "mask") if is_drawn else ("image", "valid")
        planes = {name: element[name] for name in moving}
        if self.flip_horizontal and rng.random() < 0.5:
            planes = _flip(planes, axis=1)
        if self.flip_vertical and rng.random() < 0.5:
            planes = _flip(planes, axis=0)
        if self.shift_px:
            kept = planes["mask" if is_drawn else "valid"] if element["label"] else None
            planes = _shift(planes, kept, self.shift_px, rng)
        image = _tones(planes["image"], self.brightness, self.contrast, self.gamma, rng)
        image = _blur(image, self.blur_px, rng)
        image = _noise(image, self.noise, rng)
        return element | planes | {"image": image}


def _flip(planes: dict[str, np.ndarray], axis: int) -> dict[str, np.ndarray]:
    """Mirror every plane along an axis."""
    return {name: _flipped(plane, axis) for name, plane in planes.items()}


def _flipped(plane: np.ndarray, axis: int) -> np.ndarray:
    numbers = plane.view(np.uint8) if plane.dtype == bool else plane  # OpenCV would convert it
    # It moves whole rows, as NumPy does not backwards, and drops an axis of one channel.
    return cv2.flip(numbers, 1 - axis).view(plane.dtype).reshape(plane.shape)


def _shift(
    planes: dict[str, np.ndarray],
    kept: np.ndarray | None,
    shift_px: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Move every plane by the same whole number of px, border repeated, padding not valid.

    Args:
        kept: what has to stay in the frame: the defect, or all of the image where nobody has drawn
            it; None of a good one.
    """
    height, width = planes["valid"].shape
    box = (0,) * 4 if kept is None else cv2.boundingRect(kept.view(np.uint8))
    left, top, columns, rows = box
    down = _limited(int(rng.integers(-shift_px, shift_px + 1)), top, rows, height)
    right = _limited(int(rng.integers(-shift_px, shift_px + 1)), left, columns, width)
    borders = {"image": cv2.BORDER_REPLICATE}
    return {
        name: _moved(plane, down, right, borders.get(name, cv2.BORDER_CONSTANT))
        for name, plane in planes.items()
    }


def _moved(plane: np.ndarray, down: int, right: int, border: int) -> np.ndarray:
    """Return the part of a plane that stays in the frame, and a border where it came from."""
    height, width = plane.shape[:2]
    above, before = max(down, 0), max(right, 0)
    below, behind = max(-down, 0), max(-right, 0)
    stays = plane[below : height - above, behind : width - before]
    return cv2.copyMakeBorder(stays, above, below, before, behind, border).reshape(plane.shape)


def _limited(shift_px: int, first: int, occupied: int, length: int) -> int:
    """Cut a shift so that the defect, `occupied` px from `first` on, stays in 0 … length - 1."""
    if occupied == 0:  # something of the image stays
        return min(max(shift_px, 1 - length), length - 1)
    return min(max(shift_px, -first), length - first - occupied)


def _tones(
    image: Frame, brightness: float, contrast: float, gamma: float, rng: np.random.Generator
) -> Frame:
    """Change brightness, contrast and gamma; brighter pixels stay brighter.

    Gamma bends the range; what lies beyond it moves along with its end.
    """
    offset = rng.uniform(-brightness, brightness)
    gain = 1.0 + rng.uniform(-contrast, contrast)
    exponent = float(np.exp(rng.uniform(-gamma, gamma)))
    shift = np.float32(0.5 - 0.5 * gain + offset)
    changed = np.empty_like(image)
    for strip in _strips(image):
        before, after = image[strip], changed[strip]
        inside = before.clip(0.0, 1.0)
        np.subtract(before, inside, out=after)
        after += np.power(inside, np.float32(exponent), out=inside) if gamma else inside
        after *= np.float32(gain)
        after += shift
    return changed


def _strips(image: Frame) -> Iterator[slice]:
    """Yield rows of an image, few enough at a time to stay in a processor's cache.

    Whole planes of float32 would each be new memory from the system: three times the time.
    """
    rows = max(1, STRIP_BYTES // max(1, image[0].nbytes))
    return (slice(first, first + rows) for first in range(0, len(image), rows))


def _blur(image: Frame, blur_px: float, rng: np.random.Generator) -> Frame:
    """Blur every other image; the others keep the sharpness they came with."""
    sigma = rng.uniform(0.0, 2.0 * blur_px) - blur_px
    if sigma <= 0.1:  # a narrower kernel is one pixel: nothing would change
        return image
    return cv2.GaussianBlur(image, (0, 0), sigma).reshape(image.shape)


def _noise(image: Frame, noise: float, rng: np.random.Generator) -> Frame:
    """Add Gaussian noise of a random strength, equal in all channels."""
    if noise == 0.0:
        return image
    steps = np.float32(rng.uniform(0.0, noise) * _normal_values(rng))
    draws, noisy = _bytes(image.shape[:2], rng), np.empty_like(image)
    for strip in _strips(image):
        grain_ = cv2.merge([cv2.LUT(draws[strip], steps)] * image.shape[2])
        np.add(image[strip], grain_.reshape(image[strip].shape), out=noisy[strip])
    return noisy


def _normal_values(rng: np.random.Generator) -> np.ndarray:
    """Return one value of each of 256 equally likely intervals, float64; their mean is 0.

    One of them a pixel, chosen by a random byte, is Gaussian noise for a sixth of the work of
    `Generator.standard_normal`. That the values differ from image to image gives all images
    together their long tails.
    """
    above = special.ndtri((128 + np.arange(128) + rng.uniform(0.0, 0.999)) / 256)
    return np.concatenate([-above, above])


def _bytes(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return independent random values, uint8 [h w], by the quickest generator that NumPy has."""
    quick = np.random.Generator(np.random.SFC64(int(rng.integers(2**63))))
    pixels = shape[0] * shape[1]
    draws = quick.integers(2**64 - 1, size=-(-pixels // 8), dtype=np.uint64, endpoint=True)
    return draws.view(np.uint8)[:pixels].reshape(shape)
