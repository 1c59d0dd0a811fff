"""Encoders by name: each returns features of every row, finest first, from a normalised image.

All are called as `encoder(image, train, rows)`; `plain.Encoder` gives the shapes. One of ours is
built as `Encoder(widths, block, norm, dtype)`, a published one as
`PRETRAINED[name](dtype=…, frozen=…)`. What a published one has besides:

- `finest_px`: pixels of the image to a side of a cell of its first row; 1 in ours,
- `row_count`: how many rows it has,
- `stem`: the layer that sees the image.
"""

import flax.linen as nn

from defect_jax.models.encoders.convnext import ConvNeXtTiny
from defect_jax.models.encoders.efficientnet_lite import (
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
)
from defect_jax.models.encoders.plain import Encoder
from defect_jax.models.encoders.resnet import ResNet18, ResNet34, ResNet50

ENCODERS: dict[str, type[nn.Module]] = {"plain": Encoder}
PRETRAINED: dict[str, type[nn.Module]] = {
    "efficientnet_lite0": EfficientNetLite0,
    "efficientnet_lite1": EfficientNetLite1,
    "efficientnet_lite2": EfficientNetLite2,
    "resnet18": ResNet18,
    "resnet34": ResNet34,
    "resnet50": ResNet50,
    "convnext_tiny": ConvNeXtTiny,
}
