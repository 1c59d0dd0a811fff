"""What a camera does to an image: a lens out of focus, noise, and JPEG files."""

import cv2
import numpy as np
from jaxtyping import UInt8

from defect_jax.data.distortions.levels import Counts, Levels

REACH = 4.0  # of the blur's kernel, in standard deviations


def blur(pixels: Counts, sigma_px: float, levels: Levels, rng: np.random.Generator) -> Counts:
    """Blur with a Gaussian of this standard deviation; the border is mirrored."""
    del levels, rng
    if sigma_px == 0.0:
        return pixels
    side_px = 2 * int(np.ceil(REACH * sigma_px)) + 1
    blurred = cv2.GaussianBlur(pixels, (side_px, side_px), sigma_px, borderType=cv2.BORDER_REFLECT)
    return blurred.reshape(pixels.shape)


def noise(pixels: Counts, percent: float, levels: Levels, rng: np.random.Generator) -> Counts:
    """Add Gaussian noise to each pixel and channel.

    Args:
        percent: its standard deviation, of the range that the training images fill.
    """
    std = np.float32(percent / 100.0) * np.float32(levels.width)
    return pixels + std * rng.standard_normal(pixels.shape, np.float32)


def jpeg(pixels: Counts, quality: float, levels: Levels, rng: np.random.Generator) -> Counts:
    """Save each light as JPEG of this quality (of libjpeg, 1 to 100) and read it again.

    JPEG has 8 bits: images of more lose theirs first, as they do where somebody saves them so.
    """
    del rng
    top = max(levels.top, float(pixels.max()))
    eight_bits = np.rint(pixels * np.float32(255.0 / top)).astype(np.uint8)
    lights = np.split(eight_bits, np.cumsum(levels.lights)[:-1], axis=2)
    read = np.concatenate([_saved(light, int(quality)) for light in lights], axis=2)
    return read.astype(np.float32) * np.float32(top / 255.0)


def _saved(light: UInt8[np.ndarray, "h w c"], quality: int) -> UInt8[np.ndarray, "h w c"]:
    bgr = np.ascontiguousarray(light[..., ::-1])  # of one channel: itself
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV could not save an image of shape {light.shape} as JPEG")
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED).reshape(light.shape)[..., ::-1]
