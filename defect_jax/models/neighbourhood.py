"""What the probabilities round each pixel say: mean, variance, and whether a defect encloses it."""

import functools

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32


def window_statistics(
    maps: Float[Array, "b h w c"], window_px: int
) -> tuple[Float32[Array, "b h w c"], Float32[Array, "b h w 1"]]:
    """Mean of each map, and variance of the maps' sum, over `window_px` x `window_px` pixels.

    At the border the maps are mirrored, as SciPy's `uniform_filter(mode="mirror")` does it.
    The variance is E[p²] - E[p]², never below 0.

    Args:
        maps: probabilities, or anything of about that size: in float32 the difference of squares
            is good to 1e-7 of their square.
        window_px: odd, and half of it less than height and width.

    >>> mean, variance = window_statistics(jnp.array([0.0, 3.0, 0.0]).reshape(1, 3, 1, 1), 1)
    >>> mean.ravel().tolist(), variance.ravel().tolist()
    ([0.0, 3.0, 0.0], [0.0, 0.0, 0.0])
    >>> mean, variance = window_statistics(jnp.eye(3).reshape(1, 3, 3, 1), 3)
    >>> round(mean[0, 1, 1, 0].item(), 4), round(variance[0, 1, 1, 0].item(), 4)
    (0.3333, 0.2222)
    """
    maps = maps.astype(jnp.float32)
    total = maps.sum(axis=-1, keepdims=True)
    margin = (window_px // 2, window_px // 2)
    both = jnp.concatenate([maps, total * total], axis=-1)
    both = jnp.pad(both, ((0, 0), margin, margin, (0, 0)), mode="reflect")
    # One axis after the other: an eighth of the time of a square window on a CPU.
    both = nn.avg_pool(nn.avg_pool(both, (window_px, 1)), (1, window_px))
    mean, of_squares = both[..., :-1], both[..., -1:]
    return mean, jnp.maximum(of_squares - mean.sum(axis=-1, keepdims=True) ** 2, 0.0)


def enclosure(defect: Float[Array, "b h w 1"], reach_px: int) -> Float32[Array, "b h w 1"]:
    """How sure it is that there is a defect on two opposite sides of each pixel.

    To either side along a line through the pixel, the highest probability within reach counts; of
    the two sides the lower one, and of four lines (rows, columns, diagonals) the highest. It is
    high in a gap between two strands and low beside a single one, which have the same mean. What
    lies outside of the map counts as background.

    Args:
        defect: probability of any defect.
        reach_px: pixels looked at to either side, diagonal steps counting as one.

    >>> row = jnp.array([0.9, 0.1, 0.0, 0.7, 0.2]).reshape(1, 1, 5, 1)
    >>> [f"{value:.1f}" for value in enclosure(row, 2).ravel().tolist()]
    ['0.0', '0.7', '0.7', '0.2', '0.0']
    """
    defect = defect.astype(jnp.float32)
    margin = (reach_px, reach_px)
    padded = jnp.pad(defect, ((0, 0), margin, margin, (0, 0)))
    highest = jnp.zeros_like(defect)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        steps = [(n * down, n * right) for n in range(1, reach_px + 1)]
        back = [(-y, -x) for y, x in steps]
        sides = [_highest(padded, defect.shape, offsets) for offsets in (steps, back)]
        highest = jnp.maximum(highest, jnp.minimum(*sides))
    return highest


def _highest(padded: Array, shape: tuple[int, ...], offsets: list[tuple[int, int]]) -> Array:
    """Highest of the shifted copies of a map, from the map in its margin."""
    margin = (padded.shape[1] - shape[1]) // 2
    starts = [(0, margin + down, margin + right, 0) for down, right in offsets]
    copies = [lax.slice(padded, start, np.add(start, shape)) for start in starts]
    return functools.reduce(jnp.maximum, copies)
