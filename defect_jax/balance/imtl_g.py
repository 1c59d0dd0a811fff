"""IMTL-G, impartial multi-task learning (Liu et al., ICLR 2021)."""

from collections.abc import Sequence

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from defect_jax.balance.gradients import Shared, in_encoder
from defect_jax.balance.transform import INITIAL_STEPS, weigh_gradients

Gram = Float[Array, "tasks tasks"]
Weights = Float[Array, " tasks"]


def imtl_g(
    tasks: Sequence[str], initial_steps: int = INITIAL_STEPS, shared: Shared = in_encoder
) -> optax.GradientTransformationExtraArgs:
    """Take the vector with equal projections onto every task's gradient (section 3.1).

    Weights sum to 1. With two tasks they are inverse to the gradient norms, whatever their angle:
    what GradNorm with alpha = 0 tends to. Assumes nothing of the losses' scales.

    Args:
        tasks: names of all tasks.
        initial_steps: batches over which L(0) is averaged, for the log.
        shared: predicate on the path of a parameter.
    """

    def rule(present: Bool[Array, " tasks"], gram: Gram, count: Int[Array, ""]) -> Weights:
        return impartial(gram, present)

    return weigh_gradients(tasks, rule, initial_steps, shared)


def impartial(gram: Gram, present: Bool[Array, " tasks"]) -> Weights:
    """Return weights, summing to 1, of the vector that all unit gradients have the same product
    with.

    >>> gram = jnp.array([[1.0, 0.5], [0.5, 9.0]])
    >>> impartial(gram, jnp.array([True, True])).tolist()
    [0.75, 0.25]
    """
    norms = jnp.where(present, jnp.sqrt(jnp.diagonal(gram)), 1.0)
    pairs = jnp.outer(present, present) & ~jnp.eye(present.size, dtype=bool)
    # Equal projections, cosines @ x = constant, are the same as (1 - cosines) @ x = constant; this
    # form keeps its digits where gradients are nearly parallel, and its 0 where they are opposite.
    apart = jnp.where(pairs, 1.0 - gram / jnp.outer(norms, norms), 0.0)
    apart /= jnp.where(apart.max() > 0.0, apart.max(), 1.0)
    along = jnp.linalg.pinv(apart, rtol=1e-6, hermitian=True) @ present.astype(gram.dtype)
    # All the same direction, or one gradient alone: any weights will do, these are the limit.
    along = jnp.where(jnp.abs(jnp.sum(along / norms)) > 1e-6 / norms.max(), along, 1.0)
    weights = jnp.where(present, along / norms, 0.0)
    return weights / jnp.where(present.any(), weights.sum(), 1.0)
