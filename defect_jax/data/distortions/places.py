"""A part that lies elsewhere: shifted, turned, nearer or farther.

The image, the mask and what is not judged move together, and are resampled once. What comes in from
outside mirrors what is there, so that no edge looks like a crack, and is not judged.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

Affine = Float64[np.ndarray, "2 3"]  # from (x, y) of the image to (x, y) where it lies now
Size = tuple[int, int]  # height, width


class Moved(NamedTuple):
    """Planes where they lie now."""

    pixels: Float32[np.ndarray, "h w c"]
    mask: UInt8[np.ndarray, "h w"]
    ignored: UInt8[np.ndarray, "h w"]
    outside: Bool[np.ndarray, "h w"]  # what came in: no pixel of the image is there


def shift(size: Size, grade_px: float, rng: np.random.Generator) -> Affine:
    """Shift by whole px to one of four sides, drawn for each image, by half of it at most."""
    axis, sign = int(rng.integers(2)), int(rng.choice((-1, 1)))
    by_px = sign * min(int(grade_px), size[1 - axis] // 2)
    matrix = np.eye(2, 3)
    matrix[axis, 2] = by_px
    return matrix


def rotation(size: Size, degrees: float, rng: np.random.Generator) -> Affine:
    """Turn about the middle, to the left or to the right, drawn for each image."""
    angle = np.deg2rad(degrees) * rng.choice((-1, 1))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return _about_middle(turn, size)


def scale(size: Size, factor: float, rng: np.random.Generator) -> Affine:
    """Make the part larger by `factor` or smaller by it, about the middle, drawn for each image."""
    return _about_middle(np.eye(2) * factor ** rng.choice((-1.0, 1.0)), size)


def _about_middle(linear: Float64[np.ndarray, "2 2"], size: Size) -> Affine:
    middle = (np.array(size[::-1]) - 1.0) / 2.0
    return np.column_stack([linear, middle - linear @ middle])


def moved(
    pixels: Float32[np.ndarray, "h w c"],
    mask: UInt8[np.ndarray, "h w"],
    ignored: UInt8[np.ndarray, "h w"],
    matrix: Affine,
) -> Moved:
    """Move all planes; pixels are cubic, and the others take the nearest one."""
    channels = np.moveaxis(pixels, 2, 0)
    image = [_warped(c, matrix, cv2.INTER_CUBIC, cv2.BORDER_REFLECT) for c in channels]
    shown = _nearest(np.ones(mask.shape, np.uint8), matrix)
    planes = _nearest(mask, matrix), _nearest(ignored, matrix)
    return Moved(np.stack(image, axis=2), *planes, shown == 0)


def _nearest(plane: np.ndarray, matrix: Affine) -> np.ndarray:
    return _warped(plane, matrix, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)


def _warped(plane: np.ndarray, matrix: Affine, how: int, border: int) -> np.ndarray:
    # Channel by channel, as cubic warps take four at most.
    height, width = plane.shape
    return cv2.warpAffine(
        np.ascontiguousarray(plane), matrix, (width, height), flags=how, borderMode=border
    )
