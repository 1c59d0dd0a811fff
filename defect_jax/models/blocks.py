"""The pieces every part of the network is made of: norms, convolution blocks, up-sampling."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from defect_jax.models.initialise import FanInNormal, he_normal

Norm = Callable[..., nn.Module]

MIN_CHANNELS_A_GROUP = 8
MAX_GROUPS = 32
LAYOUT = ("NHWC", "HWIO", "NHWC")


def batch_norm(channels: int, train: bool, dtype: Any, name: str) -> nn.BatchNorm:
    """Return batch normalisation (arXiv 1502.03167); statistics in float32 whatever `dtype` is.

    `axis_name` stays unset: under `jit` with a sharded batch the mean is the global one already.
    """
    del channels
    return nn.BatchNorm(
        use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=dtype, name=name
    )


def group_norm(channels: int, train: bool, dtype: Any, name: str) -> nn.GroupNorm:
    """Return group normalisation (arXiv 1803.08494); float32 statistics, alike in training and use.

    The number of groups is the largest divisor of `channels` that leaves at least eight channels
    a group, and at most 32: one channel a group would remove the brightness of a feature map,
    which is what a stain differs by.
    """
    del train
    most = min(MAX_GROUPS, max(1, channels // MIN_CHANNELS_A_GROUP))
    groups = max(n for n in range(1, most + 1) if channels % n == 0)
    return nn.GroupNorm(num_groups=groups, epsilon=1e-5, dtype=dtype, name=name)


NORMS: dict[str, Norm] = {"batch": batch_norm, "group": group_norm}


class ConvBlock(nn.Module):
    """H of the UNet++ paper: twice 3x3 convolution, norm, ReLU.

    The convolutions have no bias: the norm behind each subtracts it again. What a node joins is
    joined once more for the gradient, in place of being kept: in U-Net++ the joined maps hold every
    skip again, up to four times.

    Attributes:
        filters: Output channels of both.
        norm: See `NORMS`.
        dtype: Of the computation.
        sees_image: Whether the first one is on the image itself.
    """

    filters: int
    norm: Norm
    dtype: Any
    sees_image: bool = False

    @nn.compact
    def __call__(
        self, parts: Sequence[Float[Array, "b h w _"]], train: bool
    ) -> Float[Array, "b h w f"]:
        first = nn.remat(ConvBlock.on_joined) if train and len(parts) > 1 else ConvBlock.on_joined
        x = first(self, parts)
        x = nn.relu(self.norm(self.filters, train, self.dtype, "norm_1")(x))
        x = self.convolution(2)(x)
        return nn.relu(self.norm(self.filters, train, self.dtype, "norm_2")(x))

    def on_joined(self, parts: Sequence[Float[Array, "b h w _"]]) -> Float[Array, "b h w f"]:
        """Apply the first convolution to all parts as one map."""
        x = parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)
        return self.convolution(1)(x)

    def convolution(self, layer: int) -> nn.Module:
        """Return the first or the second convolution."""
        return nn.Conv(
            self.filters,
            (3, 3),
            use_bias=False,
            dtype=self.dtype,
            kernel_init=he_normal,
            name=f"conv_{layer}",
        )


class SeparableBlock(ConvBlock):
    """The same of separable convolutions: about an eighth of the weights and products.

    The one on the image stays whole: of one channel a depthwise one is a single filter.
    """

    def convolution(self, layer: int) -> nn.Module:
        """Return the first or the second convolution."""
        if layer == 1 and self.sees_image:
            return super().convolution(layer)
        return SeparableConv(self.filters, self.dtype, name=f"conv_{layer}")


# A new block has the fields and the call of `ConvBlock`.
BLOCKS: dict[str, type[nn.Module]] = {"plain": ConvBlock, "separable": SeparableBlock}


@jax.jit
def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Double height and width, bilinear with half-pixel centres and clamped edges.

    Each output pixel is a quarter of an input pixel beside an input pixel, so it is .75 of that
    and .25 of the neighbour. Written as sums of shifted copies because `jax.image.resize` is slower
    and cannot be exported with a dynamic batch. Jitted so that it has a name in a trace: exported
    as ONNX it is one node (`deploy.onnx.convolution`).
    """
    return _double(_double(x, 1), 2)


def _double(x: Array, axis: int) -> Array:
    last = x.shape[axis] - 1
    start = lax.slice_in_dim(x, 0, 1, axis=axis)
    end = lax.slice_in_dim(x, last, last + 1, axis=axis)
    before = jnp.concatenate([start, lax.slice_in_dim(x, 0, last, axis=axis)], axis)
    after = jnp.concatenate([lax.slice_in_dim(x, 1, last + 1, axis=axis), end], axis)
    pairs = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
    return pairs.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])


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
    """Convolve with the product kernel: on a CPU.

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
    """Convolve with one after the other: on accelerators, and in exported ONNX files."""
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
