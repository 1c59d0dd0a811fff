"""Attention in the decoder: what a node does with its inputs and its output.

A node X(i,j) gets its row's earlier features (`skips`, each with f_i channels; a published encoder
has its own) and the coarser node X(i+1,j-1), and returns f_i channels. `NODES` is where a new kind
of attention is added: write a module with the fields and the call of `PlainNode` and give it a
name.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from defect_jax.models.blocks import Norm, upsample
from defect_jax.models.initialise import he_normal

REDUCTION = 16  # of the channels inside scSE's channel half
# The channel means differ little between images, so a ReLU inside that starts negative is off for
# all of them. With 32 / 16 = 2 channels inside, both would start so in one network of four.
MIN_REDUCED = 8
SCSE_ROWS = 2
OPEN_GATE_BIAS = 2.0  # sigmoid(2) = 0.88: nearly open, and the sigmoid is not yet flat


class PlainNode(nn.Module):
    """Concatenates the row's features with the up-sampled coarser one, then convolves.

    Attributes:
        filters: f_i, output channels.
        row: i, 0 is full resolution.
        block: See `blocks.BLOCKS`.
        norm: See `blocks.NORMS`.
        dtype: Of the computation.
    """

    filters: int
    row: int
    block: type[nn.Module]
    norm: Norm
    dtype: Any

    @nn.compact
    def __call__(
        self, skips: list[Float[Array, "b h w _"]], coarser: Float[Array, "b h2 w2 g"], train: bool
    ) -> Float[Array, "b h w f"]:
        parts = [*skips, upsample(coarser)]
        return self.block(self.filters, self.norm, self.dtype, name="block")(parts, train)


class ScseNode(PlainNode):
    """A plain node whose output goes through scSE, in the two finest rows only.

    A small defect is still several cells wide there, so the spatial half has something to point at.
    Deeper rows would take most of the extra parameters (f²/8 a node) where it is a cell or less.
    """

    @nn.compact
    def __call__(
        self, skips: list[Float[Array, "b h w _"]], coarser: Float[Array, "b h2 w2 g"], train: bool
    ) -> Float[Array, "b h w f"]:
        x = super().__call__(skips, coarser, train)
        return Scse(self.dtype, name="scse")(x) if self.row < SCSE_ROWS else x


class GatedNode(PlainNode):
    """A plain node that reads each skip through an attention gate of its own."""

    @nn.compact
    def __call__(
        self, skips: list[Float[Array, "b h w _"]], coarser: Float[Array, "b h2 w2 g"], train: bool
    ) -> Float[Array, "b h w f"]:
        gated = [
            AttentionGate(self.dtype, name=f"gate_{column}")(skip, coarser)
            for column, skip in enumerate(skips)
        ]
        return super().__call__(gated, coarser, train)


class Scse(nn.Module):
    """Concurrent spatial and channel squeeze and excitation (Roy et al. 2018, arXiv 1803.02579).

    `x (σ(W₂ ReLU(W₁ mean(x))) + σ(w·x))`. The layers in front of the sigmoids start at zero, so
    each half starts as x/2 and the sum as x: an untrained network is the one without attention.
    """

    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        zeros = nn.initializers.zeros
        channels = x.shape[-1]
        reduced = nn.Dense(
            max(MIN_REDUCED, channels // REDUCTION),
            dtype=self.dtype,
            kernel_init=he_normal,
            name="reduce",
        )(jnp.mean(x, axis=(1, 2), keepdims=True))
        channel = nn.Dense(channels, dtype=self.dtype, kernel_init=zeros, name="expand")(
            nn.relu(reduced)
        )
        spatial = nn.Conv(1, (1, 1), dtype=self.dtype, kernel_init=zeros, name="spatial")(x)
        return x * (nn.sigmoid(channel) + nn.sigmoid(spatial))


class AttentionGate(nn.Module):
    """Attention gate on a skip (Oktay et al. 2018, arXiv 1804.03999, equations 1 and 2).

    `x σ(ψ ReLU(W_x x + W_g g + b))` with half of the skip's channels inside. g is multiplied before
    it is up-sampled: the two commute, and there it is a quarter of the work. ψ starts at zero
    behind a bias that leaves the gate 0.88 open everywhere.
    """

    dtype: Any

    @nn.compact
    def __call__(
        self, skip: Float[Array, "b h w f"], coarser: Float[Array, "b h2 w2 g"]
    ) -> Float[Array, "b h w f"]:
        inside = max(1, skip.shape[-1] // 2)
        from_skip = nn.Conv(
            inside, (1, 1), use_bias=False, dtype=self.dtype, kernel_init=he_normal, name="skip"
        )(skip)
        from_coarser = nn.Conv(
            inside, (1, 1), dtype=self.dtype, kernel_init=he_normal, name="coarser"
        )(coarser)
        openness = nn.Conv(
            1,
            (1, 1),
            dtype=self.dtype,
            kernel_init=nn.initializers.zeros,
            bias_init=nn.initializers.constant(OPEN_GATE_BIAS),
            name="openness",
        )(nn.relu(from_skip + upsample(from_coarser)))
        return skip * nn.sigmoid(openness)


NODES: dict[str, type[nn.Module]] = {"none": PlainNode, "scse": ScseNode, "gates": GatedNode}
