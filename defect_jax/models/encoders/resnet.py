"""ResNet 18, 34 and 50 (He et al. 2016, arXiv 1512.03385), as torchvision and timm have them.

Padded evenly as PyTorch does, and halved in the 3x3 convolution of a block ("v1.5").
"""

from typing import Any, ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from defect_jax.models.encoders.layers import Conv, Norm, PointwiseConv, batch_norms
from defect_jax.models.pooling import halved_by_threes

FILTERS = (64, 128, 256, 512)


class Block(nn.Module):
    """What both kinds of block share: a way through and a way past.

    Attributes:
        filters: Of the 3x3 convolutions.
        stride: Of the one that halves.
        norm: Makes its batch norms.
        dtype: Of the computation.
    """

    filters: int
    stride: int
    norm: Norm
    dtype: Any

    def conv(self, filters: int, size_px: int, stride: int, name: str) -> nn.Module:
        """Return a convolution without bias, padded evenly by half its kernel."""
        if size_px == 1:
            return PointwiseConv(filters, stride, self.dtype, name=name)
        return Conv(
            filters,
            (size_px, size_px),
            stride,
            padding=size_px // 2,
            use_bias=False,
            dtype=self.dtype,
            name=name,
        )

    def joined(self, given: Array, x: Array) -> Array:
        """Add what was given, brought to the shape of `x`."""
        if given.shape != x.shape:
            given = self.conv(x.shape[-1], 1, self.stride, "downsample_0")(given)
            given = self.norm(name="downsample_1")(given)
        return nn.relu(given + x)


class BasicBlock(Block):
    """Two 3x3 convolutions."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ f"]:
        given = x
        x = nn.relu(self.norm(name="bn1")(self.conv(self.filters, 3, self.stride, "conv1")(x)))
        x = self.norm(name="bn2")(self.conv(self.filters, 3, 1, "conv2")(x))
        return self.joined(given, x)


class Bottleneck(Block):
    """A 3x3 convolution of a quarter of the channels between two 1x1."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ _"]:
        given = x
        x = nn.relu(self.norm(name="bn1")(self.conv(self.filters, 1, 1, "conv1")(x)))
        x = nn.relu(self.norm(name="bn2")(self.conv(self.filters, 3, self.stride, "conv2")(x)))
        x = self.norm(name="bn3")(self.conv(4 * self.filters, 1, 1, "conv3")(x))
        return self.joined(given, x)


class ResNet(nn.Module):
    """Residual blocks in five rows of 1/2 to 1/32 of the image; the first is the stem's.

    Attributes:
        dtype: Of the computation.
        frozen: Whether batch statistics stay as they are in training, too.
    """

    dtype: Any
    frozen: bool

    finest_px: ClassVar[int] = 2
    row_count: ClassVar[int] = 1 + len(FILTERS)
    stem: ClassVar[str] = "conv1"
    block: ClassVar[type[Block]]
    repeats: ClassVar[tuple[int, ...]]

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], train: bool, rows: int | None = None
    ) -> list[Float[Array, "b _ _ _"]]:
        """Return features of the finest `rows` rows; of all if not given."""
        norm = batch_norms(1e-5, train, self.frozen, self.dtype)
        x = Conv(FILTERS[0], (7, 7), 2, padding=3, use_bias=False, dtype=self.dtype, name="conv1")(
            image
        )
        features = [nn.relu(norm(name="bn1")(x))]
        for layer in range(1, rows or self.row_count):
            x = features[-1]
            if layer == 1:
                x = halved_by_threes(x)
            for number in range(self.repeats[layer - 1]):
                stride = 2 if number == 0 and layer > 1 else 1
                name = f"layer{layer}_{number}"
                x = self.block(FILTERS[layer - 1], stride, norm, self.dtype, name=name)(x)
            features.append(x)
        return features


class ResNet18(ResNet):
    """64, 64, 128, 256 and 512 features."""

    block: ClassVar[type[Block]] = BasicBlock
    repeats: ClassVar[tuple[int, ...]] = (2, 2, 2, 2)


class ResNet34(ResNet):
    """64, 64, 128, 256 and 512 features."""

    block: ClassVar[type[Block]] = BasicBlock
    repeats: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)


class ResNet50(ResNet):
    """64, 256, 512, 1024 and 2048 features."""

    block: ClassVar[type[Block]] = Bottleneck
    repeats: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)
