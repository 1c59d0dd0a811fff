"""Coarse localisation: which cells of a grid hold a defect, before any pixel is decided.

The first stage of LPC-Net (Wang et al. 2025, Sensors 25(15), 4548), which embeds what it finds in
the second stage's features and weighs that stage's pixel losses with it. The paper's own form is
not published in what we could read; the grid is ours, because it needs no boxes.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from defect_jax.models.blocks import Norm, upsample
from defect_jax.models.encoders.plain import Encoder
from defect_jax.models.heads import PRIOR_LOGIT, small_normal

LARGEST_CELL_PX = 16  # a 23-px defect then still fills one
EMBEDDED_ROWS = 3  # the deepest ones: what is above is finer than a cell can say


class Backbone(nn.Module):
    """A light encoder of its own in front of the grid.

    Attributes:
        widths: Filters of each row, finest first; a cell has `2 ** (len(widths) - 1)` px.
        block: See `blocks.BLOCKS`.
        norm: See `blocks.NORMS`.
        dtype: Of the computation.
    """

    widths: Sequence[int]
    block: type[nn.Module]
    norm: Norm
    dtype: Any
    reads_encoder: ClassVar[bool] = False

    def setup(self) -> None:
        self.backbone = Encoder(self.widths, self.block, self.norm, self.dtype)
        self.grid = Grid()

    def __call__(
        self, image: Float[Array, "b h w c"], features: list[Float[Array, "b _ _ _"]], train: bool
    ) -> Float32[Array, "b rows columns 1"]:
        """Return logits of the cells, from the image."""
        del features
        return self.grid(self.backbone(image, train)[-1])


class OnEncoder(nn.Module):
    """The grid on the encoder that the other tasks share, at the row of 16-px cells or its deepest.

    Attributes as those of `Backbone`, of which it needs none.
    """

    widths: Sequence[int]
    block: type[nn.Module]
    norm: Norm
    dtype: Any
    reads_encoder: ClassVar[bool] = True

    def setup(self) -> None:
        self.grid = Grid()

    def __call__(
        self, image: Float[Array, "b h w c"], features: list[Float[Array, "b _ _ _"]], train: bool
    ) -> Float32[Array, "b rows columns 1"]:
        """Return logits of the cells, from the encoder's features."""
        del train
        fitting = [x for x in features if image.shape[1] // x.shape[1] <= LARGEST_CELL_PX]
        return self.grid(fitting[-1])


ON_ENCODER = "encoder"
LOCALISATIONS: dict[str, type[nn.Module]] = {"backbone": Backbone, ON_ENCODER: OnEncoder}


class Grid(nn.Module):
    """A 1x1 convolution to one logit a cell, in float32."""

    @nn.compact
    def __call__(self, x: Float[Array, "b rows columns c"]) -> Float32[Array, "b rows columns 1"]:
        return nn.Conv(
            1,
            (1, 1),
            dtype=jnp.float32,
            kernel_init=small_normal,
            bias_init=nn.initializers.constant(PRIOR_LOGIT),
            name="logits",
        )(x)


class Embedding(nn.Module):
    """Writes the grid into the deepest encoder features: `F ← F (1 + γ q)`, γ learnt per channel.

    γ starts at 0, so that an untrained network is the one without localisation: its masks bit for
    bit, its label up to rounding, because XLA merges the product into the head's mean. No gradient
    goes back into the grid: it learns from its own loss alone.
    """

    @nn.compact
    def __call__(
        self,
        features: list[Float[Array, "b _ _ _"]],
        cell_logits: Float32[Array, "b rows columns 1"],
        first: int,
    ) -> list[Float[Array, "b _ _ _"]]:
        """Return the features, with the grid in those of row `first` and below."""
        found = jax.lax.stop_gradient(nn.sigmoid(cell_logits))
        written = []
        for row, feature in enumerate(features[first:], first):
            resized = fitted(found, feature.shape[1])
            gain = ZeroGain(feature.shape[-1], name=f"gain_{row}")(resized)
            written.append(feature * (1.0 + gain).astype(feature.dtype))
        return [*features[:first], *written]


def first_embedded_row(rows: int) -> int:
    """Return the finest row that the grid is written into, of so many.

    >>> first_embedded_row(5), first_embedded_row(2)
    (2, 0)
    """
    return max(0, rows - EMBEDDED_ROWS)


class HighestCell(nn.Module):
    """What the highest probability of all cells adds to the label logit; nothing, at the start."""

    @nn.compact
    def __call__(self, cell_logits: Float32[Array, "b rows columns 1"]) -> Float32[Array, " b"]:
        highest = jax.lax.stop_gradient(nn.sigmoid(cell_logits)).max(axis=(1, 2))
        return ZeroGain(1, name="gain")(highest)[:, 0]


class ZeroGain(nn.Module):
    """`γ x` with one γ a channel, 0 at the start."""

    channels: int
    gain_init: Callable[..., Any] = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float32[Array, "*shape 1"]) -> Float32[Array, "*shape c"]:
        gain = self.param("gain", self.gain_init, (self.channels,))
        return x * jnp.expand_dims(gain, tuple(range(x.ndim - 1)))


def fitted(cells: Float[Array, "b rows columns 1"], height: int) -> Float[Array, "b h w 1"]:
    """Bring the grid to a row's resolution: bilinear upwards, the highest of four downwards."""
    while cells.shape[1] < height:
        cells = upsample(cells)
    while cells.shape[1] > height:
        cells = nn.max_pool(cells, window_shape=(2, 2), strides=(2, 2))
    return cells


def on_pixels(
    cell_logits: Float32[Array, "b rows columns 1"], height: int
) -> Float32[Array, "b h w 1"]:
    """Return the probability that a defect is near, at each pixel; no gradient goes back."""
    return fitted(jax.lax.stop_gradient(nn.sigmoid(cell_logits)), height)
