"""Pixels as shares of the range that the training images fill, at whatever depth they are stored.

A camera of 10 or 12 bits in files of 16 fills a sixty-fourth or a sixteenth of what they could
hold. As shares of what the files could hold its images were all but black: changes of brightness
and noise meant for a whole range drowned them, and a network learnt nothing.
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Shaped, UInt
from ml_collections import ConfigDict

WIDENED = 257  # 255 -> 65535
PerChannel = int | float | tuple[int | float, ...]  # one number for all channels, or one of each


def per_channel(kept: int | float | Sequence[int | float]) -> PerChannel:
    """Return what `data_info` has of the channels in a form that can be compared."""
    return kept if isinstance(kept, int | float) else tuple(kept)


def _of_images(numbers: PerChannel | Shaped[np.ndarray, " c"]) -> Float32[Array, "..."]:
    """Return one number, or those of the channels, as images [b h w c] take them."""
    array = jnp.float32(numbers)
    return array if array.ndim == 0 else array[None, None, None]


@dataclasses.dataclass(frozen=True)
class IntensityRange:
    """What is 0 and what is 1 of an image's intensity, in counts of the set's depth.

    Values beyond are kept as shares below 0 and above 1: a defect may be brighter than all that was
    seen in training. Several lights have a range each: one that is darker than the others would
    drown in changes of brightness that are meant for theirs.
    """

    low: PerChannel
    high: PerChannel

    @classmethod
    def of(cls, data_info: ConfigDict) -> "IntensityRange":
        """Return that of a resolved config's `data_info`.

        Networks from before the range was measured learnt shares of what a file can hold.
        """
        low = data_info.get("low", 0)
        high = data_info.get("high", 2 ** data_info.get("bit_depth", 8) - 1)
        return cls(per_channel(low), per_channel(high))

    @property
    def width(self) -> int | float | Shaped[np.ndarray, " c"]:
        """Return how many counts it holds."""
        if isinstance(self.low, tuple):
            return np.subtract(self.high, self.low)
        return self.high - self.low

    def in_words(self) -> str:
        """Return its ends over all channels.

        >>> IntensityRange((20, 10), (90, 80)).in_words()
        '10 to 90'
        """
        return f"{np.min(self.low):g} to {np.max(self.high):g}"

    def shares(self, image: Shaped[np.ndarray, "*pixels"]) -> Float32[np.ndarray, "*pixels"]:
        """Return pixels of whole counts as shares of the range, exact to float32.

        Numerator and denominator are whole numbers that float32 holds, so that images which differ
        by a factor and an offset, as their ranges then do, get the very same shares. Before
        scaling: rounded to whole steps, what OpenCV scales here and what an exported network scales
        by `letterbox_jax` differed by half a step, and a probability by up to 5e-4.

        >>> IntensityRange(1000, 3000).shares(np.array([[[1500], [4000]]], np.uint16)).ravel()
        array([0.25, 1.5 ], dtype=float32)
        """
        shares = image.astype(np.float32)
        shares -= np.float32(self.low)
        shares /= np.float32(self.width)
        return shares

    def shares_jax(self, image: UInt[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Return the same inside a program."""
        shifted = image.astype(jnp.float32) - _of_images(self.low)
        return shifted / _of_images(self.width)

    def counts(
        self, shares: Float[np.ndarray, "*pixels"], dtype: type[np.unsignedinteger]
    ) -> UInt[np.ndarray, "*pixels"]:
        """Return pixels of these shares, as near as the type of an image can hold them."""
        counts = np.rint(self.low + shares * self.width)
        return counts.clip(0, np.iinfo(dtype).max).astype(dtype)

    @property
    def widened(self) -> bool:
        """Return whether 16-bit counts of this range may be 8-bit ones, each times `WIDENED`."""
        return not np.any(np.mod([self.low, self.high], WIDENED))
