"""Maxima over a map, with gradients that go to one pixel each."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Int8


@jax.custom_vjp
def halved(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """Return the highest of each 2x2 pixels; its gradient goes to the first of them that has it.

    On a CPU XLA makes of its own gradient a search for the place, with a map of indices, and a
    scatter. There it is written as one comparison a pixel, with the same numbers.

    >>> x = jnp.array([[3.0, 1.0, 5.0, 5.0], [2.0, 0.0, 4.0, 5.0]]).reshape(1, 2, 4, 1)
    >>> halved(x).ravel().tolist()
    [3.0, 5.0]
    >>> jax.grad(lambda x: halved(x).sum())(x).reshape(2, 4).tolist()
    [[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    return _maxima(x)


def _maxima(x: Array) -> Array:
    return nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))


def _halved(x: Array) -> tuple[Array, tuple[Array, Array]]:
    return halved(x), (x, _place(x))


def _place(x: Float[Array, "b h w c"]) -> Int8[Array, "b h//2 w//2 c"]:
    """Return which of the four it is, row by row.

    From `x` alone: a compiler may compute `x` twice, and round it otherwise beside the maximum.
    """
    b, h, w, c = x.shape
    pixels = x.reshape(b, h // 2, 2, w // 2, 2, c)
    one, two, three, four = (pixels[:, :, i, :, j] for i in range(2) for j in range(2))
    above, below = jnp.where(two > one, 1, 0), jnp.where(four > three, 3, 2)
    lower = jnp.maximum(three, four) > jnp.maximum(one, two)
    return jnp.where(lower, below, above).astype(jnp.int8)


def _to_pixels(kept: tuple[Array, Array], gradient: Array) -> tuple[Array]:
    return (lax.platform_dependent(*kept, gradient, cpu=_compared, default=_searched),)


def _compared(x: Array, place: Array, gradient: Array) -> Float[Array, "b h w c"]:
    pixels = jnp.arange(4, dtype=jnp.int8).reshape(1, 1, 2, 1, 2, 1)
    chosen = place[:, :, None, :, None] == pixels
    return jnp.where(chosen, gradient[:, :, None, :, None], 0).reshape(x.shape)


def _searched(x: Array, place: Array, gradient: Array) -> Float[Array, "b h w c"]:
    del place
    return jax.vjp(_maxima, x)[1](gradient)[0]


halved.defvjp(_halved, _to_pixels)


@jax.custom_vjp
def halved_by_threes(x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ c"]:
    """Return the highest of the 3x3 pixels around every second one, from the first one on.

    As ResNets pool. The gradient goes to the first that has it; on a CPU, as that of `halved`,
    without the search and the scatter that XLA makes of its own.

    >>> x = jnp.array([[3.0, 1.0, 5.0, 5.0], [2.0, 0.0, 4.0, 5.0]]).reshape(1, 2, 4, 1)
    >>> halved_by_threes(x).ravel().tolist()
    [3.0, 5.0]
    >>> jax.grad(lambda x: halved_by_threes(x).sum())(x).reshape(2, 4).tolist()
    [[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    return _maxima_of_threes(x)


def _maxima_of_threes(x: Array) -> Array:
    return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


def _halved_by_threes(x: Array) -> tuple[Array, tuple[Array, Array]]:
    return halved_by_threes(x), (x, _place_of_nine(x))


def _place_of_nine(x: Float[Array, "b h w c"]) -> Int8[Array, "b _ _ c"]:
    """Return which of the nine it is, row by row; from `x` alone, as `_place`."""
    b, h, w, c = x.shape
    around = ((0, 0, 0), (1, 1, 0), (1, 1, 0), (0, 0, 0))
    padded = lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), around)
    place = best = None
    for number, (i, j) in enumerate(np.ndindex(3, 3)):
        tap = lax.slice(padded, (0, i, j, 0), (b, h + i, w + j, c), (1, 2, 2, 1))
        if best is None:
            place, best = jnp.zeros(tap.shape, jnp.int8), tap
        else:
            place = jnp.where(tap > best, jnp.int8(number), place)
            best = jnp.maximum(best, tap)
    return place


def _to_nine(kept: tuple[Array, Array], gradient: Array) -> tuple[Array]:
    return (lax.platform_dependent(*kept, gradient, cpu=_spread, default=_searched_nine),)


def _spread(x: Array, place: Array, gradient: Array) -> Float[Array, "b h w c"]:
    """Add what each of the nine gets, laid out at every second pixel."""
    total = jnp.zeros_like(x)
    behind = [size - 2 * half + 1 for size, half in zip(x.shape, place.shape, strict=True)]
    for number, (i, j) in enumerate(np.ndindex(3, 3)):
        chosen = jnp.where(place == number, gradient, 0)
        frame = ((0, 0, 0), (i - 1, behind[1] - i + 1, 1), (j - 1, behind[2] - j + 1, 1), (0, 0, 0))
        total += lax.pad(chosen, jnp.zeros((), chosen.dtype), frame)
    return total


def _searched_nine(x: Array, place: Array, gradient: Array) -> Float[Array, "b h w c"]:
    del place
    return jax.vjp(_maxima_of_threes, x)[1](gradient)[0]


halved_by_threes.defvjp(_halved_by_threes, _to_nine)


@jax.custom_vjp
def highest(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """Return the highest value of each channel; its gradient goes to the first pixel that has it.

    That of `jnp.max` goes to the pixels that equal the maximum, divided by their number. A compiler
    may compute `x` once more for the comparison and round it otherwise, and then no pixel does: 0
    by 0 (seen on a CPU without optimisation, in the second step of a run).

    >>> x = jnp.array([3.0, 7.0, 7.0, 1.0]).reshape(1, 2, 2, 1)
    >>> highest(x).tolist()
    [[7.0]]
    >>> jax.grad(lambda x: highest(x).sum())(x).ravel().tolist()
    [0.0, 1.0, 0.0, 0.0]
    """
    return jnp.max(x, axis=(1, 2))


def _highest(x: Array) -> tuple[Array, tuple[Int[Array, "b c"], Array]]:
    b, h, w, c = x.shape
    place = jnp.argmax(x.reshape(b, h * w, c), axis=1)
    return highest(x), (place, jnp.zeros((h, w), bool))  # of the latter the shape alone is used


def _to_place(kept: tuple[Array, Array], gradient: Array) -> tuple[Float[Array, "b h w c"]]:
    place, frame = kept
    chosen = jnp.arange(frame.size)[None, :, None] == place[:, None]
    return (jnp.where(chosen, gradient[:, None], 0).reshape(-1, *frame.shape, place.shape[-1]),)


highest.defvjp(_highest, _to_place)
