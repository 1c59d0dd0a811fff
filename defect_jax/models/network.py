"""The whole network: image in, mask logits and label logits out."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from defect_jax.errors import UserError
from defect_jax.models.attention import NODES
from defect_jax.models.blocks import NORMS
from defect_jax.models.encoder import Encoder
from defect_jax.models.heads import ClassificationHead, MaskHeads
from defect_jax.models.unet import UNet
from defect_jax.models.unetplusplus import UNetPlusPlus

DECODERS: dict[str, type[nn.Module]] = {"unet": UNet, "unetplusplus": UNetPlusPlus}
DTYPES: dict[str, Any] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Outputs(NamedTuple):
    """What the network returns."""

    mask_logits: Float32[Array, "heads b h w 1"]  # one head a column of UNet++, the last is finest
    label_logits: Float32[Array, " b"] | None  # None without classification head


class SegmentationNetwork(nn.Module):
    """Shared encoder, a decoder with mask heads, and a classification head that can be left out.

    The classification head hangs off the deepest encoder feature and nothing hangs off it: the same
    params without it give the same masks, bit for bit (Dong et al. 2025, arXiv 2510.13226, call it
    classifier-as-plugin).

    Attributes:
        decoder: Name in `DECODERS`.
        widths: Filters of each row, finest first; depth = `len(widths) - 1` poolings.
        attention: Name in `attention.NODES`.
        deep_supervision: Mask logits from every X(0,j) instead of the last alone (UNet++ only; the
            U-Net has one).
        classification_head: Whether there is a label logit.
        dropout: Share of the classification head's inputs dropped in training.
        norm: Name in `blocks.NORMS`.
        dtype: Of the computation, name in `DTYPES`; params and logits are float32 in any case.

    Raises:
        UserError: At construction, for a value that does not fit; at the first call, for an image
            whose sides cannot be halved `depth` times.
    """

    decoder: str = "unetplusplus"
    widths: Sequence[Any] = (32, 64, 128, 256, 512)
    attention: str = "none"
    deep_supervision: bool = True
    classification_head: bool = True
    dropout: float = 0.2
    norm: str = "batch"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        _check_known("decoder", self.decoder, DECODERS)
        _check_known("attention", self.attention, NODES)
        _check_known("norm", self.norm, NORMS)
        _check_known("dtype", self.dtype, DTYPES)
        self.widths = _checked_widths(self.widths)
        if not 0.0 <= self.dropout < 1.0:
            raise UserError(f"config.model.dropout is {self.dropout}: must be from 0 to below 1")
        super().__post_init__()

    def setup(self) -> None:
        norm, dtype = NORMS[self.norm], DTYPES[self.dtype]
        self.encoder = Encoder(self.widths, norm, dtype)
        self.nodes = DECODERS[self.decoder](NODES[self.attention], self.widths, norm, dtype)
        self.mask_heads = MaskHeads()
        if self.classification_head:
            self.label_head = ClassificationHead(self.dropout)

    def __call__(self, image: Float[Array, "b h w c"], train: bool) -> Outputs:
        """Computes logits for a batch of normalised images, grey, RGB or of any channel count.

        In training it needs `mutable=["batch_stats"]` and, with a classification head, a key
        named "dropout".
        """
        features = self.encode(image, train)
        return Outputs(self.mask_logits(features, train), self.label_logits(features, train))

    def encode(self, image: Float[Array, "b h w c"], train: bool) -> list[Float[Array, "b _ _ _"]]:
        """Encoder features, finest first: all that the two tasks share."""
        check_size(image.shape[1], image.shape[2], len(self.widths) - 1)
        return self.encoder(image, train)

    def mask_logits(
        self, features: list[Float[Array, "b _ _ _"]], train: bool
    ) -> Float32[Array, "heads b h w 1"]:
        """Mask logits of every head from the encoder features."""
        finest = self.nodes(features, train)
        return self.mask_heads(finest if self.deep_supervision else finest[-1:])

    def label_logits(
        self, features: list[Float[Array, "b _ _ _"]], train: bool
    ) -> Float32[Array, " b"] | None:
        """Label logits from the encoder features, None without classification head."""
        return self.label_head(features[-1], train) if self.classification_head else None


def mask_probability(outputs: Outputs) -> Float32[Array, "b h w 1"]:
    """Probability of "defect" at each pixel: the mean over the heads of their probabilities.

    Probabilities, not logits, are averaged: one head that is very sure cannot outvote all others.
    """
    return jnp.mean(nn.sigmoid(outputs.mask_logits), axis=0)


def check_size(height_px: int, width_px: int, depth: int) -> None:
    """Refuses an image size that cannot be halved `depth` times.

    Raises:
        UserError: With the size and the nearest that fit.
    """
    unit = 2**depth
    wrong = [
        f"{side} {size} (nearest: {_nearest(size, unit)})"
        for side, size in (("height", height_px), ("width", width_px))
        if size % unit or size == 0
    ]
    if wrong:
        raise UserError(
            f"config.data.size: image size {height_px}x{width_px} does not fit a network of "
            f"{depth + 1} rows; both sides must be divisible by {unit}: {', '.join(wrong)}"
        )


def _nearest(size: int, unit: int) -> str:
    below = size // unit * unit
    return f"{below} or {below + unit}" if below else str(unit)


def _check_known(field: str, name: str, table: Mapping[str, Any]) -> None:
    if name not in table:
        known = ", ".join(table)
        raise UserError(f"config.model.{field} is {name!r}: must be one of {known}")


def _checked_widths(widths: Sequence[Any]) -> tuple[int, ...]:
    if len(widths) < 2 or any(not isinstance(width, int) or width < 1 for width in widths):
        raise UserError(
            f"config.model.widths is {tuple(widths)}: must be at least two positive numbers of "
            "filters, finest row first"
        )
    return tuple(widths)  # config.json has lists, and a module must be hashable
