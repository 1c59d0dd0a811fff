"""What the counts of an image stand for: no light at all, and the most that a camera gives."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt

from defect_jax.data.geometry.input_spec import InputSpec

CAMERA_BITS = (8, 10, 12, 14, 16)  # a camera of 12 bits, in files of 16, is full at 4095
FULL = 65535.0  # counts of float images, `depth.of_floats`

Counts = Float32[np.ndarray, "h w c"]


class Levels(NamedTuple):
    """Counts of the images of a set.

    Attributes:
        dark: without any light: what a factor of brightness leaves as it is.
        top: that no pixel goes beyond.
        width: of the range that the training images fill; of several lights one a channel.
        lights: channels of each light of a shot, 1 or 3.
    """

    dark: float
    top: float
    width: float | np.ndarray
    lights: tuple[int, ...]

    @classmethod
    def of(cls, spec: InputSpec) -> "Levels":
        """Return the levels of a network's images.

        How deep a camera is, whose files have 16 bits, is told by the brightest training images.
        """
        width, lights = spec.intensity.width, spec.channels_of_lights
        if spec.float_range:
            low, high = spec.float_range
            return cls(-low / (high - low) * FULL, FULL, width, lights)
        brightest = np.max(spec.intensity.high)
        tops = [2.0**bits - 1.0 for bits in CAMERA_BITS if bits <= spec.bit_depth]
        return cls(0.0, next(top for top in tops if brightest <= top), width, lights)

    def counts(self, changed: Counts, before: UInt[np.ndarray, "h w c"]) -> np.ndarray:
        """Return changed pixels as whole counts of the type that they had.

        What was brighter than `top` before may stay so.

        >>> before = np.full((1, 1, 1), 200, np.uint8)
        >>> changed = np.full((1, 1, 1), 300.4, np.float32)
        >>> Levels(0.0, 255.0, 255.0, (1,)).counts(changed, before).item()
        255
        """
        top = max(self.top, float(before.max()))
        return np.rint(changed).clip(0.0, top).astype(before.dtype)
