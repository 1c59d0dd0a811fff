"""More light or less, and more contrast or less: straight lines through counts."""

import numpy as np

from defect_jax.data.distortions.levels import Counts, Levels


def brightness(pixels: Counts, factor: float, levels: Levels, rng: np.random.Generator) -> Counts:
    """Multiply the light by `factor`, as a longer exposure does; what is full stays full.

    >>> pixels = np.array([[[100.0], [200.0]]], np.float32)
    >>> levels = Levels(0.0, 255.0, 255.0, (1,))
    >>> brightness(pixels, 1.5, levels, np.random.default_rng()).ravel().tolist()
    [150.0, 300.0]
    """
    del rng
    dark = np.float32(levels.dark)
    return (pixels - dark) * np.float32(factor) + dark


def contrast(pixels: Counts, factor: float, levels: Levels, rng: np.random.Generator) -> Counts:
    """Multiply the distance of each pixel from the mean of its image, channel by channel.

    >>> pixels = np.array([[[100.0], [200.0]]], np.float32)
    >>> levels = Levels(0.0, 255.0, 255.0, (1,))
    >>> contrast(pixels, 0.5, levels, np.random.default_rng()).ravel().tolist()
    [125.0, 175.0]
    """
    del levels, rng
    mean = pixels.mean(axis=(0, 1), keepdims=True, dtype=np.float64).astype(np.float32)
    return (pixels - mean) * np.float32(factor) + mean
