"""Depthwise convolution: one small filter for each channel.

XLA computes these on a CPU 20 to 200 times slower than it could, forward and backward (jaxlib
0.10.2). There they are written as what it is fast at: sums of products with the same channels side
by side in memory. On accelerators, and in exported ONNX files, they are one convolution.
Figures: docs/speed.md, `benchmarks.depthwise`.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

LAYOUT = ("NHWC", "HWIO", "NHWC")
# Pixels in a turn of the loop of `kernel_gradient`. Of one, the turns themselves cost up to half of
# the time; of four, no less, and the program takes longer to compile.
PIXELS_A_TURN = 2


def depthwise(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int = 1
) -> Float[Array, "b _ _ c"]:
    """Convolve each channel with its own filter; zeros around, as TensorFlow's "SAME" places them.

    Of each axis of n pixels `ceil(n / stride)` are left. Where the number of zeros is odd, the end
    gets one more than the beginning: at stride 2 and even sizes that is not what PyTorch's
    `padding=k // 2` does.

    The second channel here is doubled:

    >>> x = jnp.ones((1, 3, 3, 2))
    >>> kernel = jnp.ones((3, 3, 1, 2)).at[..., 1].set(0).at[1, 1, 0, 1].set(2)
    >>> depthwise(x, kernel)[0, :, :, 0]
    Array([[4., 6., 4.], [6., 9., 6.], [4., 6., 4.]], dtype=float32)
    >>> depthwise(x, kernel)[0, :, :, 1]
    Array([[2., 2., 2.], [2., 2., 2.], [2., 2., 2.]], dtype=float32)
    >>> depthwise(x, kernel, stride=2)[0, :, :, 0]
    Array([[4., 4.], [4., 4.]], dtype=float32)

    Args:
        x: The maps. The result has their type.
        kernel: The filters, of 3, 5 or 7 pixels in height and width. Not flipped.
        stride: 1 or 2, of both axes.
    """
    return lax.platform_dependent(
        x,
        kernel.astype(x.dtype),
        cpu=functools.partial(shifted_sum, stride),
        default=functools.partial(convolution, stride),
    )


def convolution(
    stride: int, x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"]
) -> Float[Array, "b _ _ c"]:
    """Convolve as one operation: on accelerators, and in exported ONNX files."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=LAYOUT,
        feature_group_count=x.shape[-1],
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def shifted_sum(
    stride: int, x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"]
) -> Float[Array, "b _ _ c"]:
    """Convolve by adding, for each place of the kernel, the shifted maps times its weight: on a
    CPU."""
    places = [(i, j, i, j) for i in range(len(kernel)) for j in range(len(kernel))]
    shape = [-(-n // stride) for n in x.shape[1:3]]
    return weighted(surrounded(x, len(kernel), stride), kernel, places, shape, stride)


def forward(stride: int, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    """Return the value, and what the gradients need."""
    return shifted_sum(stride, x, kernel), (x, kernel)


def backward(stride: int, kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    """Return the gradients by the maps and by the kernel."""
    return input_gradient(stride, *kept, gradient), kernel_gradient(stride, *kept, gradient)


shifted_sum.defvjp(forward, backward)


def input_gradient(
    stride: int,
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k k 1 c"],
    gradient: Float[Array, "b p q c"],
) -> Float[Array, "b h w c"]:
    """Return the gradient by the maps: a shifted sum again.

    At stride 2 the pixels of even and of odd rows and columns have been under different places of
    the kernel. Each of these four gets its own sum, and they are interleaved at the end: less than
    half the time of convolving the gradient with zeros between its pixels.
    """
    size, (b, height, width, c) = len(kernel), gradient.shape
    (top, _), (left, _) = edges_of(x, size, stride)
    reach = size // 2
    padded = pad(gradient, [(reach, reach)] * 2)

    def phase(row: int, column: int) -> Float[Array, "b p q c"]:
        places = [
            ((row + top - i) // stride + reach, (column + left - j) // stride + reach, i, j)
            for i in range(size)
            for j in range(size)
            if (row + top - i) % stride == (column + left - j) % stride == 0
        ]
        return weighted(padded, kernel, places, (height, width), 1)

    if stride == 1:
        return phase(0, 0)
    rows = [jnp.stack([phase(r, q) for q in range(stride)], 3) for r in range(stride)]
    whole = jnp.stack(rows, 2).reshape(b, stride * height, stride * width, c)
    return whole[:, : x.shape[1], : x.shape[2]]


def kernel_gradient(
    stride: int,
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k k 1 c"],
    gradient: Float[Array, "b p q c"],
) -> Float[Array, "k k 1 c"]:
    """Return the gradient by the kernel.

    For each place of it the products of two maps are summed over images, rows and columns. Of such
    a sum XLA makes code that takes ten to forty times as long as reading the maps. So the pixels of
    the result are taken in a loop: the k x k maps under one, times its gradient, are added to an
    array that stays in the cache. It has images apart, which are summed at the end: they may be on
    several devices.
    """
    size, (b, height, width, c), wide = len(kernel), gradient.shape, sum_type(x)
    padded = surrounded(x, size, stride)

    def add_pixel(place: Array, total: Float[Array, "b k k c"]) -> Float[Array, "b k k c"]:
        row, column = place // width, place % width
        corner = 0, row * stride, column * stride, 0
        under = lax.dynamic_slice(padded, corner, (b, size, size, c))
        pixel = lax.dynamic_slice(gradient, (0, row, column, 0), (b, 1, 1, c))
        return total + under.astype(wide) * pixel.astype(wide)

    zeros = jnp.zeros((b, size, size, c), wide)
    total = lax.fori_loop(0, height * width, add_pixel, zeros, unroll=PIXELS_A_TURN)
    # As a product with ones: YNNPACK, to which XLA may be told to give sums, is slow over images.
    by_place = jnp.einsum("b,bijc->ijc", jnp.ones(b, wide), total)
    return by_place[:, :, None].astype(kernel.dtype)


def weighted(
    padded: Float[Array, "b y z c"],
    kernel: Float[Array, "k k 1 c"],
    places: Sequence[tuple[int, int, int, int]],
    shape: Sequence[int],
    stride: int,
) -> Float[Array, "b _ _ c"]:
    """Return the sum of windows times weights, added in float32 where the maps are shorter.

    Args:
        padded: What has the windows.
        kernel: What has the weights.
        places: Row and column of a window's first pixel, and of its weight.
        shape: Height and width of a window.
        stride: Of the pixels of a window.
    """
    wide = sum_type(padded)
    products = (
        window(padded, (top, left), shape, (stride, stride)).astype(wide)
        * kernel[i : i + 1, j : j + 1].astype(wide)
        for top, left, i, j in places
    )
    return functools.reduce(jnp.add, products).astype(padded.dtype)


def window(
    x: Float[Array, "b y z c"], first: Sequence[int], shape: Sequence[int], stride: Sequence[int]
) -> Float[Array, "b _ _ c"]:
    """Return `shape` pixels from the `first` on, each `stride` behind the one before."""
    steps = zip(first, shape, stride, strict=True)
    last = [start + (count - 1) * step + 1 for start, count, step in steps]
    return lax.slice(x, (0, *first, 0), (x.shape[0], *last, x.shape[-1]), (1, *stride, 1))


def surrounded(x: Float[Array, "b h w c"], size: int, stride: int) -> Float[Array, "b _ _ c"]:
    """Return the maps with the zeros around that "SAME" asks for."""
    return pad(x, edges_of(x, size, stride))


def edges_of(x: Float[Array, "b h w c"], size: int, stride: int) -> Sequence[tuple[int, int]]:
    """Return how many zeros go before and behind the rows, and the columns."""
    return lax.padtype_to_pads(x.shape[1:3], (size, size), (stride, stride), "SAME")


def pad(x: Float[Array, "b h w c"], edges: Sequence[tuple[int, int]]) -> Float[Array, "b _ _ c"]:
    """Return the maps with zeros around, as an array in memory.

    Without the barrier XLA may compute what `x` is made of anew for each place of the kernel.
    """
    around = [(before, after, 0) for before, after in edges]
    zero = jnp.zeros((), x.dtype)
    return lax.optimization_barrier(lax.pad(x, zero, [(0, 0, 0), *around, (0, 0, 0)]))


def sum_type(x: Array) -> jnp.dtype:
    """Return the type to add in."""
    return jnp.promote_types(x.dtype, jnp.float32)
