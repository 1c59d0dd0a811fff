"""Losses of tasks that only part of a batch supervises."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def supervised_mean(losses: Float[Array, " b"], supervised: Bool[Array, " b"]) -> Float[Array, ""]:
    """Return the mean of a task's losses over the samples that have its truth; exactly 0 if none
    has.

    A loss that is exactly 0 counts as absent: it moves no weight of any method here.

    Args:
        losses: one a sample; any finite number where there is no truth.
        supervised: which samples have the truth.

    >>> supervised_mean(jnp.array([1.0, 3.0, 9.0]), jnp.array([True, True, False])).item()
    2.0
    >>> supervised_mean(jnp.array([1.0, 3.0]), jnp.array([False, False])).item()
    0.0
    """
    total = jnp.sum(jnp.where(supervised, losses, 0.0))
    return total / jnp.maximum(jnp.sum(supervised), 1)
