"""Pixel confidence: what is round a pixel may raise its probability of defect, never lower it.

The second stage of LPC-Net (Wang et al. 2025, Sensors 25(15), 4548) fills gaps inside defects with
"pixel confidence matrices" built from the probabilities of neighbouring pixels; the formulas are
not published in what we could read, and these are our own. Filling is one-sided: an average over
neighbours that could also lower a probability would erase cracks of one to three pixels.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32

from defect_jax.models.class_maps import log_probabilities

CLOSED_GATE_BIAS = -2.0  # sigmoid(-2) = 0.12: next to nothing is raised at the start
SMALLEST = 1e-6  # probabilities nearer to 0 or 1 are not told apart in logarithms


class LearntConfidence(nn.Module):
    """A gate, learnt with the network, says how far a pixel follows its neighbourhood.

        g = σ(conv3x3[d, e, μ, σ², 1 - conf, 1 - κ])

    with d the probability of any defect, e how far defects enclose the pixel (`enclosure`), μ and
    σ² mean and variance over the window, conf and κ the confidence of the pixel and of its
    neighbourhood (`confidence`). The kernel starts at 0 behind a bias of -2, so the gate starts
    almost closed, everywhere alike; what it sees is 0 on sure background.

    Attributes:
        window_px: side of the neighbourhood, odd.
    """

    window_px: int

    @nn.compact
    def __call__(self, logits: Float32[Array, "b h w c"]) -> Float32[Array, "b h w c"]:
        around = neighbourhood(logits, self.window_px)
        gate = nn.Conv(
            1,
            (3, 3),
            dtype=jnp.float32,
            kernel_init=nn.initializers.zeros,
            bias_init=nn.initializers.constant(CLOSED_GATE_BIAS),
            name="gate",
        )(jnp.concatenate(around.seen, axis=-1))
        return raised(logits, around, nn.sigmoid(gate))


class FixedConfidence(nn.Module):
    """The gate without parameters: `g = (1 - conf) κ`.

    An unsure pixel believes a neighbourhood that is sure.

    Attributes:
        window_px: side of the neighbourhood, odd.
    """

    window_px: int

    @nn.compact
    def __call__(self, logits: Float32[Array, "b h w c"]) -> Float32[Array, "b h w c"]:
        around = neighbourhood(logits, self.window_px)
        *_, own_doubt, its_doubt = around.seen
        return raised(logits, around, own_doubt * (1.0 - its_doubt))


CONFIDENCES: dict[str, type[nn.Module]] = {"learnt": LearntConfidence, "fixed": FixedConfidence}


def confidence(log_p: Float[Array, "*shape k"]) -> Float[Array, "*shape 1"]:
    """Return one minus the entropy of a distribution, as a share of the largest it can have.

    >>> half, nine = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.1, 0.9]))
    >>> confidence(jnp.stack([half, nine])).round(3).ravel().tolist()
    [0.0, 0.531]
    """
    entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=-1, keepdims=True)
    return 1.0 - entropy / jnp.log(jnp.float32(log_p.shape[-1]))


class Neighbourhood(NamedTuple):
    """What is round each pixel.

    Attributes:
        mean: of each defect class's probability over the window.
        seen: d, e, μ, σ², 1 - conf and 1 - κ, what a gate may use.
    """

    mean: Float32[Array, "b h w classes"]
    seen: tuple[Float32[Array, "b h w 1"], ...]


def neighbourhood(logits: Float32[Array, "b h w c"], window_px: int) -> Neighbourhood:
    """Return statistics of the window round each pixel, from the logits."""
    log_p = log_probabilities(logits)
    defects = jnp.exp(log_p[..., 1:])
    defect = defects.sum(-1, keepdims=True)
    mean, variance = window_statistics(defects, window_px)
    doubts = 1.0 - confidence(log_p), 1.0 - confidence(_log_distribution(mean))
    enclosed = enclosure(defect, window_px // 2)
    seen = (defect, enclosed, mean.sum(-1, keepdims=True), variance, *doubts)
    return Neighbourhood(mean, seen)


def raised(
    logits: Float32[Array, "b h w c"],
    around: Neighbourhood,
    gate: Float32[Array, "b h w 1"],
) -> Float32[Array, "b h w c"]:
    """Return logits of `d' = d + g max(e - d, 0)`, with d the probability of any defect and e
    enclosure.

    What d gains is shared out among the classes as the neighbourhood has them, so that none of them
    falls. Two forms with the mean μ in place of e were tried, `max(d, g μ)` and
    `d + g max(μ - d, 0)`: their gates ended closed. The mean beside a strand is that between two,
    and there is more of the former.

    Args:
        logits: of the pixels.
        around: what is round them.
        gate: g, from 0 to 1.

    >>> logits = jnp.array([3.0, -3.0, 2.0]).reshape(1, 1, 3, 1)  # 0.953, 0.047 and 0.881
    >>> enclosed = jnp.array([0.0, 0.881, 0.0]).reshape(1, 1, 3, 1)
    >>> around = Neighbourhood(enclosed, (nn.sigmoid(logits), enclosed))
    >>> higher = nn.sigmoid(raised(logits, around, jnp.full((1, 1, 3, 1), 0.5)))
    >>> [f"{p:.3f}" for p in higher.ravel().tolist()]
    ['0.953', '0.464', '0.881']
    """
    log_p = log_probabilities(logits)
    defects, (defect, enclosed, *_) = jnp.exp(log_p[..., 1:]), around.seen
    gain = gate * jnp.maximum(enclosed - defect, 0.0)
    total = jnp.clip(defect + gain, SMALLEST, 1.0 - SMALLEST)
    if logits.shape[-1] == 1:
        higher = jnp.maximum(logits, jnp.log(total) - jnp.log1p(-total))
        return jnp.where(enclosed > defect, higher, logits)
    share = around.mean / jnp.maximum(around.mean.sum(-1, keepdims=True), SMALLEST)
    each = defects + gain * share
    each = jnp.maximum(log_p[..., 1:], jnp.log(jnp.maximum(each, SMALLEST**2)))
    both = jnp.concatenate([jnp.log1p(-total), each], axis=-1)
    return jnp.where(enclosed > defect, both, log_p)


def _log_distribution(defects: Float32[Array, "b h w classes"]) -> Float32[Array, "b h w k"]:
    background = 1.0 - defects.sum(-1, keepdims=True)
    return jnp.log(jnp.clip(jnp.concatenate([background, defects], axis=-1), SMALLEST, 1.0))


def window_statistics(
    maps: Float[Array, "b h w c"], window_px: int
) -> tuple[Float32[Array, "b h w c"], Float32[Array, "b h w 1"]]:
    """Return the mean of each map, and variance of the maps' sum, over `window_px` x `window_px`
    pixels.

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
    """Return how sure it is that there is a defect on two opposite sides of each pixel.

    To either side along a line through the pixel, the highest probability within reach counts; of
    the two sides the lower one, and of four lines (rows, columns, diagonals) the highest. It is
    high in a gap between two strands and low beside a single one, which have the same mean. What
    is outside of the map counts as background.

    Args:
        defect: probability of any defect.
        reach_px: pixels compared to either side, diagonal steps counting as one.

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
    """Return the highest of the shifted copies of a map, from the map in its margin."""
    margin = (padded.shape[1] - shape[1]) // 2
    starts = [(0, margin + down, margin + right, 0) for down, right in offsets]
    copies = [lax.slice(padded, start, np.add(start, shape)) for start in starts]
    return functools.reduce(jnp.maximum, copies)
