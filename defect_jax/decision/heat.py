"""How sure the network is of each pixel, in eight bits in which the decision's threshold is fixed.

Probabilities of two networks say little beside each other, because each has a threshold of its own.
A heat map is measured from that threshold: its byte `MARKED` is where pixels are marked.
"""

import math
from typing import Any

from jaxtyping import Bool, Float, UInt8

from defect_jax.decision.ways import is_number

MARKED = 128  # the lowest byte of a pixel that reaches the pixel threshold
STEPS = 127  # to each side of the threshold
SMALLEST = 1e-6  # of a divisor: at a threshold of 0 or 1 one side has no width


def heat_map(
    probability: Float[Any, "*shape"],
    pixel_threshold: Any,
    judged: Bool[Any, "*shape"] | None = None,
) -> UInt8[Any, "*shape"]:
    """Return the heat of each pixel; of pixels p and a threshold t it is

        0                                   where the pixel is not judged,
        1 + floor(127 p / t)                below the threshold: 1 to 127,
        128 + floor(127 (p - t) / (1 - t))  from the threshold on: 128 to 255.

    It rises with p, and `heat >= 128` is the mask before anything is decided on the image. It runs
    on NumPy arrays and inside JAX programs. What is not a finite number is hottest.

    Args:
        probability: of any defect.
        pixel_threshold: `Thresholds.pixel`.
        judged: False where a pixel is not judged; None: all are.

    >>> import numpy as np
    >>> heat_map(np.array([0.0, 0.1, 0.2, 0.6, 1.0], np.float32), np.float32(0.2)).tolist()
    [1, 64, 128, 191, 255]
    """
    xp = probability.__array_namespace__()
    probability = xp.where(is_number(probability), probability, math.inf)  # as `apply.mark` does
    step_below = xp.maximum(pixel_threshold, SMALLEST) / STEPS
    step_above = xp.maximum(1 - pixel_threshold, SMALLEST) / STEPS
    heat = xp.where(
        probability >= pixel_threshold,
        xp.minimum(MARKED + (probability - pixel_threshold) / step_above, MARKED + STEPS),
        xp.clip(1 + probability / step_below, 1, MARKED - 1),
    ).astype(xp.uint8)  # which rounds down
    return heat if judged is None else xp.where(judged, heat, xp.uint8(0))
