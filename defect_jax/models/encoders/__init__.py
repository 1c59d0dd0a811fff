"""Encoders by name: each returns features of every row, finest first, from a normalised image.

All are called as `encoder(image, train, rows)`; `plain.Encoder` gives the shapes. One of ours is
built as `Encoder(widths, block, norm, dtype)`, a published one as
`PRETRAINED[name](dtype=…, frozen=…)`. What a published one has besides:

- `finest_px`: pixels of the image to a side of a cell of its first row; 1 in ours,
- `row_count`: how many rows it has,
- `stem`: the layer that sees the image.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn

from defect_jax.models.encoders.convnext import ConvNeXtTiny
from defect_jax.models.encoders.efficientnet_lite import (
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
)
from defect_jax.models.encoders.plain import Encoder
from defect_jax.models.encoders.resnet import ResNet18, ResNet34, ResNet50

PLAIN = "plain"
PRETRAINED: dict[str, type[nn.Module]] = {
    "efficientnet_lite0": EfficientNetLite0,
    "efficientnet_lite1": EfficientNetLite1,
    "efficientnet_lite2": EfficientNetLite2,
    "resnet18": ResNet18,
    "resnet34": ResNet34,
    "resnet50": ResNet50,
    "convnext_tiny": ConvNeXtTiny,
}
ENCODERS = (PLAIN, *PRETRAINED)
PLAIN_ROWS = 10  # of more nothing is left of an image that fits a device


def make_encoder(
    encoder: str,
    widths: Sequence[int],
    block: type[nn.Module],
    norm: Callable[..., nn.Module],
    dtype: Any,
    frozen: bool,
    name: str,
) -> nn.Module:
    """Return the encoder of that name; one that is pretrained has widths, blocks and norms of its
    own.

    Args:
        frozen: whether a pretrained one's batch statistics stay as they are in training.
        name: of the module among the parameters.
    """
    if encoder == PLAIN:
        return Encoder(widths, block, norm, dtype, name=name)
    return PRETRAINED[encoder](dtype=dtype, frozen=frozen, name=name)


def unit_px(encoder: str, rows: int) -> int:
    """Return the px of the image that a cell of the deepest of so many rows has: what both sides of
    an image must be divisible by.

    >>> unit_px("plain", 5), unit_px("efficientnet_lite0", 5), unit_px("convnext_tiny", 4)
    (16, 32, 32)
    """
    return finest_px(encoder) * 2 ** (rows - 1)


def finest_px(encoder: str) -> int:
    """Return the px of the image that a cell of the finest row has."""
    return Encoder.finest_px if encoder == PLAIN else PRETRAINED[encoder].finest_px


def most_rows(encoder: str) -> int:
    """Return how many rows the encoder can have."""
    return PLAIN_ROWS if encoder == PLAIN else PRETRAINED[encoder].row_count
