"""Layers that the published encoders share."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from defect_jax.models.depthwise import depthwise
from defect_jax.models.encoders.frozen_norm import FrozenNorm
from defect_jax.models.encoders.frozen_norm import relu6 as cut_at_6
from defect_jax.models.initialise import FanInNormal, he_normal
from defect_jax.models.pointwise import pointwise

Norm = Callable[..., Callable]  # called with a name, see `batch_norms`
Conv = partial(nn.Conv, kernel_init=he_normal)
Dense = partial(nn.Dense, kernel_init=he_normal)


class DepthwiseConv(nn.Module):
    """One kernel a channel, padded as TensorFlow's "SAME" does: at stride 1 evenly.

    Attributes:
        size_px: Of the kernel's sides, odd.
        stride: In both directions.
        use_bias: Whether a number is added to each channel.
        dtype: Of the computation.
    """

    size_px: int
    stride: int
    use_bias: bool
    dtype: Any
    kernel_init: FanInNormal = he_normal
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ c"]:
        channels = x.shape[-1]
        kernel = self.param("kernel", self.kernel_init, (self.size_px, self.size_px, 1, channels))
        x = depthwise(x.astype(self.dtype), jnp.asarray(kernel, self.dtype), self.stride)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (channels,))
            x += jnp.asarray(bias, self.dtype)[None, None, None]
        return x


class PointwiseConv(nn.Module):
    """A kernel of one pixel, without bias.

    Attributes:
        filters: Output channels.
        stride: In both directions.
        dtype: Of the computation.
    """

    filters: int
    stride: int
    dtype: Any
    kernel_init: FanInNormal = he_normal

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ f"]:
        kernel = self.param("kernel", self.kernel_init, (1, 1, x.shape[-1], self.filters))
        return pointwise(x.astype(self.dtype), jnp.asarray(kernel, self.dtype), self.stride)


def batch_norms(epsilon: float, train: bool, frozen: bool, dtype: Any) -> Norm:
    """Return what makes the batch norms of an encoder, called with a name, and with `relu6=True`
    where the result is cut at 0 and at 6.

    Frozen ones use the statistics that they have in training, too, and keep them; their scale and
    bias learn.
    """
    if frozen or not train:
        return partial(FrozenNorm, epsilon, dtype)
    return partial(_learning_norm, epsilon, dtype)


def _learning_norm(epsilon: float, dtype: Any, relu6: bool = False, *, name: str) -> Callable:
    norm = nn.BatchNorm(
        use_running_average=False, momentum=0.9, epsilon=epsilon, dtype=dtype, name=name
    )
    return (lambda x: cut_at_6(norm(x))) if relu6 else norm


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return `x` times the share of a standard normal below it (arXiv 1606.08415), not the tanh of
    `flax.linen.gelu`; by `erf`, which ONNX has, and not `erfc`."""
    number = x.dtype.type
    return x * (number(0.5) * (lax.erf(x * number(0.5**0.5)) + number(1)))
