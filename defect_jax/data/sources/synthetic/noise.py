"""Random numbers that stay the same on every machine, and textures made of filtered noise.

Only the raw 64-bit stream of Philox is used, whose values NumPy guarantees; what its generators
derive from it (normal, integers, shuffle) may change with a release. Everything is float64, so
that the last-bit differences between FFT and `exp` implementations vanish when an image is
rounded to 8 bits.
"""

from typing import NamedTuple

import numpy as np
from scipy import fft, special

MEDIAN_TO_95_PERCENT = 1.6448536269514722  # standard normal quantile


class Grain(NamedTuple):
    """Gaussian blur that turns white noise into a texture: two lengths in px and a direction."""

    along_px: float
    across_px: float
    angle: float = 0.0  # of `along`, radians from the x axis towards the y axis


def stream(seed: int, part: int, purpose: int) -> np.random.Philox:
    """Return the random stream of one purpose of one part, independent of all other streams."""
    key = (seed % 2**64) | ((part << 16 | purpose) << 64)
    return np.random.Philox(key=key)


def uniforms(random: np.random.Philox, shape: int | tuple[int, ...]) -> np.ndarray:
    """Draw float64 values strictly inside (0, 1)."""
    bits = random.random_raw(int(np.prod(shape))) >> np.uint64(12)
    # 52 bits and a half step: neither 0 nor 1 can appear, whose normal quantiles are infinite.
    return ((bits + 0.5) * 2.0**-52).reshape(shape)


def uniform(random: np.random.Philox, low: float | int, high: float | int) -> float:
    """Draw one value between `low` and `high`."""
    return low + (high - low) * float(uniforms(random, 1)[0])


def below(random: np.random.Philox, count: int) -> int:
    """Draw one of 0 … count - 1."""
    return min(int(uniform(random, 0, count)), count - 1)


def normals(random: np.random.Philox, shape: int | tuple[int, ...]) -> np.ndarray:
    """Draw standard normal float64 values by inverting the distribution function."""
    return special.ndtri(uniforms(random, shape))


def long_tailed(
    random: np.random.Philox, median: float, percentile_95: float, low: float, high: float
) -> float:
    """Draw one log-normal value given its median and 95th percentile, cut off at both ends."""
    spread = np.log(percentile_95 / median) / MEDIAN_TO_95_PERCENT
    value = median * np.exp(spread * normals(random, 1)[0])
    return float(np.clip(value, low, high))


def texture(random: np.random.Philox, shape: tuple[int, int], grain: Grain) -> np.ndarray:
    """Draw noise blurred by `grain`, with mean 0 and variance 1, periodic at the borders.

    Args:
        random: the stream to draw from.
        shape: height and width of the result.
        grain: standard deviations of the blur along and across its direction.
    """
    padded = tuple(fft.next_fast_len(length, real=True) for length in shape)
    spectrum = fft.rfft2(normals(random, padded))
    f_y = fft.fftfreq(padded[0])[:, None]
    f_x = fft.rfftfreq(padded[1])[None, :]
    cos, sin = np.cos(grain.angle), np.sin(grain.angle)
    along = grain.along_px * (f_x * cos + f_y * sin)
    across = grain.across_px * (f_y * cos - f_x * sin)
    spectrum *= np.exp(-2 * np.pi**2 * (along**2 + across**2))
    spectrum[0, 0] = 0
    blurred = fft.irfft2(spectrum, s=padded)
    return (blurred / blurred.std())[: shape[0], : shape[1]]


def smoothstep(x: np.ndarray) -> np.ndarray:
    """Rise from 0 at x <= 0 to 1 at x >= 1 with a continuous slope."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
