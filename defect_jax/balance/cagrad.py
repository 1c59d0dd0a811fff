"""CAGrad, conflict-averse gradient descent (Liu et al., NeurIPS 2021, arXiv 2110.14048)."""

from collections.abc import Sequence

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from defect_jax.balance.gradients import Shared, in_encoder
from defect_jax.balance.simplex import Line, minimise_over_simplex
from defect_jax.balance.transform import INITIAL_STEPS, weigh_gradients

Gram = Float[Array, "tasks tasks"]
Weights = Float[Array, " tasks"]


def cagrad(
    tasks: Sequence[str],
    c: float = 0.5,
    initial_steps: int = INITIAL_STEPS,
    shared: Shared = in_encoder,
) -> optax.GradientTransformationExtraArgs:
    """Take the direction best for the worst-off task, in a ball around the mean gradient.

    The ball has radius c times the mean gradient's norm; the direction is g_0 + c |g_0| g_w / |g_w|
    with w from the dual problem (equation 4). Not rescaled by 1 + c, as some code is. Converges to
    a minimum of the mean loss for c < 1, so it assumes that the scales of the losses are right.

    Args:
        tasks: names of all tasks.
        c: radius; 0 gives the mean gradient, a large one approaches MGDA.
        initial_steps: batches over which L(0) is averaged, for the log.
        shared: predicate on the path of a parameter.
    """
    if c < 0.0:
        raise ValueError(f"c is {c}: must not be negative")

    def rule(present: Bool[Array, " tasks"], gram: Gram, count: Int[Array, ""]) -> Weights:
        return conflict_averse(gram, present, c)

    return weigh_gradients(tasks, rule, initial_steps, shared)


def conflict_averse(gram: Gram, present: Bool[Array, " tasks"], c: float) -> Weights:
    """Return weights of CAGrad's direction.

    Args:
        gram: inner products of the gradients.
        c: radius of the ball, as a share of the mean gradient's norm.

    >>> gram = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> conflict_averse(gram, jnp.array([True, True]), 0.4).tolist()
    [0.7, 0.7]
    """
    mean = present / jnp.maximum(present.sum(), 1)
    radius = c * jnp.sqrt(mean @ gram @ mean)
    with_mean = gram @ mean

    def line_minimum(line: Line) -> Float[Array, ""]:
        # Where slope + radius d/dx sqrt(square x^2 + 2 cross x + rest) = 0; the second term rises
        # from -radius sqrt(square) to +radius sqrt(square), and beyond these the end is the
        # minimum.
        slope = with_mean[line.first] - with_mean[line.second]
        ratio = -slope / jnp.where(radius > 0.0, radius, 1.0)
        gap = jnp.maximum(line.square * line.rest - line.cross**2, 0.0)
        room = line.square - ratio**2
        shift = ratio * jnp.sqrt(gap / jnp.where(room > 0.0, room, 1.0))
        inside = (shift - line.cross) / line.square
        return jnp.where(room > 0.0, inside, jnp.where(slope > 0.0, -jnp.inf, jnp.inf))

    weights = minimise_over_simplex(gram, present, line_minimum)
    length = jnp.sqrt(weights @ gram @ weights)
    return mean + radius / jnp.where(length > 0.0, length, jnp.inf) * weights
