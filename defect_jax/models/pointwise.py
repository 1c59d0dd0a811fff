"""Pointwise convolution: a product of matrices for each pixel."""

from functools import partial

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

LAYOUT = ("NHWC", "HWIO", "NHWC")


def pointwise(
    x: Float[Array, "b h w c"], kernel: Float[Array, "1 1 c f"], stride: int
) -> Float[Array, "b _ _ f"]:
    """Convolve every `stride`-th pixel, from the first one on, with a kernel of one pixel."""
    return lax.platform_dependent(
        x,
        kernel.astype(x.dtype),
        cpu=partial(as_product, stride=stride),
        default=partial(as_convolution, stride=stride),
    )


def as_product(
    x: Float[Array, "b h w c"], kernel: Float[Array, "1 1 c f"], stride: int
) -> Float[Array, "b _ _ f"]:
    """Multiply rows with a matrix: on a CPU.

    XLA takes twice as long there for the convolution, and for its gradients up to four times; also
    for those of a product of more axes than two.
    """
    x = lax.slice(x, (0, 0, 0, 0), x.shape, (1, stride, stride, 1))
    b, h, w, c = x.shape
    return jnp.matmul(x.reshape(b * h * w, c), kernel[0, 0]).reshape(b, h, w, -1)


def as_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "1 1 c f"], stride: int
) -> Float[Array, "b _ _ f"]:
    """Convolve: on accelerators, and in exported ONNX files."""
    return lax.conv_general_dilated(x, kernel, (stride,) * 2, "VALID", dimension_numbers=LAYOUT)
