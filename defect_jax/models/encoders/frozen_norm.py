"""Batch normalisation by statistics that stay: one product and one sum a number.

As `flax.linen.BatchNorm` with running averages, whose variables it has. For the gradient it keeps
its input alone, and cuts and scales it once more: what is kept is what a step on a CPU waits for.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Float32

MAP_AXES = (0, 1, 2)


class FrozenNorm(nn.Module):
    """`scale (x - mean) / sqrt(var + epsilon) + bias`, of which scale and bias learn.

    Attributes:
        epsilon: Added to the variance.
        dtype: Of the result; it is computed in float32.
        relu6: Whether the result is cut at 0 and at 6.
    """

    epsilon: float
    dtype: Any
    relu6: bool = False
    scale_init: Callable[..., Any] = nn.initializers.ones
    bias_init: Callable[..., Any] = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        shape = (x.shape[-1],)
        scale = self.param("scale", self.scale_init, shape)
        bias = self.param("bias", self.bias_init, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape).value
        var = self.variable("batch_stats", "var", jnp.ones, shape).value
        gain = scale * lax.rsqrt(var + self.epsilon)
        shift = bias - mean * gain
        of_map = scaled_relu6 if self.relu6 else scaled
        return of_map(x, gain[None, None, None], shift[None, None, None]).astype(self.dtype)


def relu6(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Cut at 0 and at 6; beyond either, and on it, the gradient is 0 as PyTorch's is."""
    number = x.dtype.type
    return lax.clamp(number(0), x, number(6))


@jax.custom_vjp
def scaled(
    x: Float[Array, "b h w c"], gain: Float32[Array, "1 1 1 c"], shift: Float32[Array, "1 1 1 c"]
) -> Float32[Array, "b h w c"]:
    """Return `gain x + shift`."""
    return x * gain + shift


def _scaled(x: Array, gain: Array, shift: Array) -> tuple[Array, tuple[Array, Array]]:
    return scaled(x, gain, shift), (x, gain)


def _scaled_gradients(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array, Array]:
    x, gain = kept
    of_gain = jnp.sum(gradient * x, MAP_AXES, keepdims=True)
    of_shift = jnp.sum(gradient, MAP_AXES, keepdims=True)
    return (gradient * gain).astype(x.dtype), of_gain, of_shift


scaled.defvjp(_scaled, _scaled_gradients)


@jax.custom_vjp
def scaled_relu6(
    x: Float[Array, "b h w c"], gain: Float32[Array, "1 1 1 c"], shift: Float32[Array, "1 1 1 c"]
) -> Float32[Array, "b h w c"]:
    """Return `gain x + shift`, cut at 0 and at 6.

    >>> x = jnp.array([-1.0, 1.0, 9.0]).reshape(1, 1, 3, 1)
    >>> gain, shift = jnp.full((1, 1, 1, 1), 2.0), jnp.full((1, 1, 1, 1), 0.5)
    >>> scaled_relu6(x, gain, shift).ravel().tolist()
    [0.0, 2.5, 6.0]
    >>> jax.grad(lambda x: scaled_relu6(x, gain, shift).sum())(x).ravel().tolist()
    [0.0, 2.0, 0.0]
    """
    return relu6(x * gain + shift)


def _scaled_relu6(x: Array, gain: Array, shift: Array) -> tuple[Array, tuple[Array, ...]]:
    return scaled_relu6(x, gain, shift), (x, gain, shift)


def _scaled_relu6_gradients(kept: tuple[Array, ...], gradient: Array) -> tuple[Array, Array, Array]:
    x, gain, shift = kept
    y = x * gain + shift
    passed = jnp.where((y > 0) & (y < 6), gradient, 0)
    return _scaled_gradients((x, gain), passed)


scaled_relu6.defvjp(_scaled_relu6, _scaled_relu6_gradients)
