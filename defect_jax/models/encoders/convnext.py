"""ConvNeXt-Tiny (Liu et al. 2022, arXiv 2201.03545), as Facebook trained it and timm has it."""

from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from defect_jax.models.encoders.layers import Conv, Dense, DepthwiseConv, gelu


class ConvNeXt(nn.Module):
    """Blocks in four rows of 1/4 to 1/32 of the image; there is nothing finer.

    Attributes:
        dtype: Of the computation.
        frozen: Without effect, as there are no batch statistics: each pixel is normalised by its
            own channels.
    """

    dtype: Any
    frozen: bool

    finest_px: ClassVar[int] = 4
    row_count: ClassVar[int] = 4
    stem: ClassVar[str] = "stem_0"
    filters: ClassVar[tuple[int, ...]]
    repeats: ClassVar[tuple[int, ...]]

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], train: bool, rows: int | None = None
    ) -> list[Float[Array, "b _ _ _"]]:
        """Return features of the finest `rows` rows; of all if not given."""
        del train
        x = self._patches(image, 4, self.filters[0], "stem_0")
        x = layer_norm(self.dtype, "stem_1")(x)
        features = []
        for row, filters in enumerate(self.filters[:rows]):
            if row > 0:
                x = layer_norm(self.dtype, f"stages_{row}_downsample_0")(x)
                x = self._patches(x, 2, filters, f"stages_{row}_downsample_1")
            for number in range(self.repeats[row]):
                x = Block(self.dtype, name=f"stages_{row}_blocks_{number}")(x)
            features.append(x)
        return features

    def _patches(self, x: Array, size_px: int, filters: int, name: str) -> Array:
        """Convolve patches that do not overlap; what is left at the end is dropped."""
        sides = (size_px, size_px)
        return Conv(filters, sides, sides, "VALID", dtype=self.dtype, name=name)(x)


class ConvNeXtTiny(ConvNeXt):
    """96, 192, 384 and 768 features."""

    filters: ClassVar[tuple[int, ...]] = (96, 192, 384, 768)
    repeats: ClassVar[tuple[int, ...]] = (3, 3, 9, 3)


class Block(nn.Module):
    """A depthwise 7x7 convolution, then each pixel by itself; added to what was given.

    Attributes:
        dtype: Of the computation.
        gamma_init: Of the share of each channel that is added.
    """

    dtype: Any
    gamma_init: Callable = nn.initializers.constant(1e-6)

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        given, channels = x, x.shape[-1]
        x = DepthwiseConv(7, 1, True, self.dtype, name="conv_dw")(x)
        x = layer_norm(self.dtype, "norm")(x)
        x = Mlp(self.dtype, name="mlp")(x)
        gamma = self.param("gamma", self.gamma_init, (channels,)).astype(self.dtype)
        return given + x * gamma[None, None, None]


class Mlp(nn.Module):
    """Two layers on each pixel, the first four times as wide.

    Attributes:
        dtype: Of the computation.
    """

    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        channels = x.shape[-1]
        x = gelu(Dense(4 * channels, dtype=self.dtype, name="fc1")(x))
        return Dense(channels, dtype=self.dtype, name="fc2")(x)


def layer_norm(dtype: Any, name: str) -> nn.LayerNorm:
    """Return layer normalisation over the channels of each pixel.

    The variance is the mean of squared differences: that of squares less the squared mean, Flax's
    default, cancels where the mean is large.
    """
    return nn.LayerNorm(epsilon=1e-6, dtype=dtype, use_fast_variance=False, name=name)
