"""EfficientNet-Lite 0, 1 and 2: EfficientNets without squeeze-and-excite, for small processors.

The convolutions, their padding and their norms are those of Google's checkpoints
(github.com/tensorflow/tpu, models/official/efficientnet/lite), which timm has as
`tf_efficientnet_lite0` to `2`: padding as TensorFlow's "SAME", uneven at stride 2. timm's own
`efficientnet_lite0`, which has the same names and shapes, was trained with another padding.
"""

import math
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from defect_jax.models.encoders.layers import (
    Conv,
    DepthwiseConv,
    Norm,
    PointwiseConv,
    batch_norms,
)

EPSILON = 1e-3
STEM_FILTERS = 32  # not scaled, nor are the repeats of the first and the last stage


class Stage(NamedTuple):
    """Blocks of one width (Tan and Le 2019, arXiv 1905.11946, table 1), before scaling."""

    filters: int
    repeats: int
    size_px: int
    stride: int  # of its first block
    expansion: int


STAGES = (
    Stage(16, repeats=1, size_px=3, stride=1, expansion=1),
    Stage(24, repeats=2, size_px=3, stride=2, expansion=6),
    Stage(40, repeats=2, size_px=5, stride=2, expansion=6),
    Stage(80, repeats=3, size_px=3, stride=2, expansion=6),
    Stage(112, repeats=3, size_px=5, stride=1, expansion=6),
    Stage(192, repeats=4, size_px=5, stride=2, expansion=6),
    Stage(320, repeats=1, size_px=3, stride=1, expansion=6),
)
ROWS = ((0,), (1,), (2,), (3, 4), (5, 6))  # stages of each row; the last one's output is the row's


class EfficientNetLite(nn.Module):
    """Inverted residuals in five rows of 1/2 to 1/32 of the image.

    Attributes:
        dtype: Of the computation.
        frozen: Whether batch statistics stay as they are in training, too.
        input_std: What the image is multiplied with, and
        input_mean: what is then added: from zero mean and unit deviation to `2 x - 1` of shares x,
            which these weights were trained on. Natural pictures have a mean of 0.449 and a
            deviation of 0.226 there (of ImageNet's training set, over the three channels).
    """

    dtype: Any
    frozen: bool
    input_std: float = 2 * 0.226
    input_mean: float = 2 * 0.449 - 1

    finest_px: ClassVar[int] = 2
    row_count: ClassVar[int] = len(ROWS)
    stem: ClassVar[str] = "conv_stem"
    width: ClassVar[float] = 1.0
    depth: ClassVar[float] = 1.0

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], train: bool, rows: int | None = None
    ) -> list[Float[Array, "b _ _ _"]]:
        """Return features of the finest `rows` rows; of all if not given."""
        norm = batch_norms(EPSILON, train, self.frozen, self.dtype)
        x = image * self.input_std + self.input_mean
        x = Conv(
            STEM_FILTERS, (3, 3), 2, "SAME", use_bias=False, dtype=self.dtype, name="conv_stem"
        )(x)
        x = norm(name="bn1", relu6=True)(x)
        features = []
        for row in ROWS[:rows]:
            for number in row:
                x = self._stage(x, number, norm)
            features.append(x)
        return features

    def _stage(self, x: Array, number: int, norm: Norm) -> Array:
        stage = STAGES[number]
        for block in range(self.repeats(number)):
            x = InvertedResidual(
                filters=multiple_of_8(stage.filters * self.width),
                size_px=stage.size_px,
                stride=1 if block else stage.stride,
                expansion=stage.expansion,
                norm=norm,
                dtype=self.dtype,
                name=f"blocks_{number}_{block}",
            )(x)
        return x

    @classmethod
    def repeats(cls, number: int) -> int:
        """Return the number of blocks of a stage."""
        once = STAGES[number].repeats
        return once if number in (0, len(STAGES) - 1) else math.ceil(once * cls.depth)


class EfficientNetLite0(EfficientNetLite):
    """Widths and depth as they are: 16, 24, 40, 112 and 320 features."""


class EfficientNetLite1(EfficientNetLite):
    """A tenth deeper: 16, 24, 40, 112 and 320 features."""

    depth: ClassVar[float] = 1.1


class EfficientNetLite2(EfficientNetLite):
    """A tenth wider and a fifth deeper: 16, 24, 48, 120 and 352 features."""

    width: ClassVar[float] = 1.1
    depth: ClassVar[float] = 1.2


def multiple_of_8(filters: float) -> int:
    """Return the nearest multiple of 8, or the next if that is less than 0.9 of what was asked for.

    >>> [multiple_of_8(filters) for filters in (26.4, 44.0, 35.0, 10.9)]
    [24, 48, 32, 16]
    """
    nearest = max(8, int(filters + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * filters else nearest


class InvertedResidual(nn.Module):
    """More channels, one kernel for each, fewer channels (MobileNetV2, arXiv 1801.04381).

    Attributes:
        filters: Output channels.
        size_px: Of the depthwise kernels' sides.
        stride: Of the depthwise convolution.
        expansion: Channels between, by those of the input. With 1 the first convolution is absent;
            the names then are as timm has them.
        norm: Makes its batch norms.
        dtype: Of the computation.
    """

    filters: int
    size_px: int
    stride: int
    expansion: int
    norm: Norm
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ f"]:
        given, channels = x, x.shape[-1]
        expands = self.expansion > 1
        if expands:
            x = self._pointwise(self.expansion * channels, "conv_pw")(x)
            x = self.norm(name="bn1", relu6=True)(x)
        x = DepthwiseConv(self.size_px, self.stride, False, self.dtype, name="conv_dw")(x)
        x = self.norm(name=f"bn{1 + expands}", relu6=True)(x)
        x = self._pointwise(self.filters, "conv_pwl" if expands else "conv_pw")(x)
        x = self.norm(name=f"bn{2 + expands}")(x)
        return given + x if self.stride == 1 and channels == self.filters else x

    def _pointwise(self, filters: int, name: str) -> nn.Module:
        return PointwiseConv(filters, 1, self.dtype, name=name)
