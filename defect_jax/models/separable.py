"""A 3x3 convolution as a depthwise and a pointwise one: what edge devices are fast at."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from defect_jax.models.initialise import FanInNormal, he_normal

LAYOUT = ("NHWC", "HWIO", "NHWC")


class SeparableConv(nn.Module):
    """Depthwise 3x3, then pointwise 1x1 (MobileNet, Howard et al. 2017, arXiv 1704.04861).

    `9 c + c f` weights in place of `9 c f`. There is nothing between the two: without a ReLU there
    the network learns faster and better (Xception, Chollet 2017, arXiv 1610.02357, section 4.7),
    and it is the norm and ReLU there that eight bits cannot follow (Sheng et al. 2018, arXiv
    1803.08607). So the two are one 3x3 convolution whose kernel is a product,
    `kernel[i, j, c, f] = depthwise[i, j, c] pointwise[c, f]`, and either way of computing it is
    right.

    Attributes:
        filters: Output channels f.
        dtype: Of the computation.
    """

    filters: int
    dtype: Any
    depthwise_init: FanInNormal = he_normal
    pointwise_init: FanInNormal = he_normal

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w f"]:
        channels = x.shape[-1]
        depthwise = self.param("depthwise", self.depthwise_init, (3, 3, 1, channels))
        pointwise = self.param("pointwise", self.pointwise_init, (1, 1, channels, self.filters))
        x = x.astype(self.dtype)
        return lax.platform_dependent(x, depthwise, pointwise, cpu=as_one, default=as_two)


def as_one(
    x: Float[Array, "b h w c"],
    depthwise: Float[Array, "3 3 1 c"],
    pointwise: Float[Array, "1 1 c f"],
) -> Float[Array, "b h w f"]:
    """With the product kernel: on a CPU.

    XLA takes 11 times as long there for a depthwise convolution of 8 channels of 128x128 px as for
    a plain one.
    """
    kernel = (jnp.swapaxes(depthwise, 2, 3) * pointwise).astype(x.dtype)
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT)


def as_two(
    x: Float[Array, "b h w c"],
    depthwise: Float[Array, "3 3 1 c"],
    pointwise: Float[Array, "1 1 c f"],
) -> Float[Array, "b h w f"]:
    """One after the other: on accelerators, and in exported ONNX files."""
    for kernel, groups in ((depthwise, x.shape[-1]), (pointwise, 1)):
        x = lax.conv_general_dilated(
            x,
            kernel.astype(x.dtype),
            (1, 1),
            "SAME",
            dimension_numbers=LAYOUT,
            feature_group_count=groups,
        )
    return x
