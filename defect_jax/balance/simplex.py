"""Convex problems over weights that are not negative and sum to 1, a pair of weights at a time."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

SWEEPS = 100
Weights = Float[Array, " tasks"]


class Line(NamedTuple):
    """Squared length of the weighted gradient while weight passes from one task to another.

    With x the weight of the first task: square x^2 + 2 cross x + rest; `first`, `second` are the
    two tasks' numbers.
    """

    square: Float[Array, ""]
    cross: Float[Array, ""]
    rest: Float[Array, ""]
    first: int
    second: int


def minimise_over_simplex(
    gram: Float[Array, "tasks tasks"],
    present: Bool[Array, " tasks"],
    line_minimum: Callable[[Line], Any],
) -> Weights:
    """Return weights of the present tasks that minimise a convex function of them.

    Each pair is brought to its own minimum in turn. With two tasks one turn is exact; with more the
    turns are repeated, which converges because the function is convex and smooth.

    Args:
        gram: inner products of the gradients.
        line_minimum: where on a line the function is least; it may be outside of [0, sum].
    """
    start = present / jnp.maximum(present.sum(), 1)
    pairs = list(itertools.combinations(range(gram.shape[0]), 2))

    def sweep(_: Any, weights: Weights) -> Weights:
        for first, second in pairs:
            total = weights[first] + weights[second]
            base = weights.at[first].set(0.0).at[second].set(total)
            along = gram[first] - gram[second]
            line = Line(
                along[first] - along[second], along @ base, base @ gram @ base, first, second
            )
            x = jnp.clip(jnp.nan_to_num(line_minimum(line)), 0.0, total)
            moved = base.at[first].set(x).at[second].set(total - x)
            # Two equal gradients make a line without a minimum, and an absent task has none at all.
            usable = (line.square > 0.0) & present[first] & present[second]
            weights = jnp.where(usable, moved, weights)
        return weights

    return jax.lax.fori_loop(0, 1 if len(pairs) == 1 else SWEEPS, sweep, start)
