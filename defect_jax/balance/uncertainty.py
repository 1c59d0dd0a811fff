"""Homoscedastic uncertainty (Kendall, Gal, Cipolla, CVPR 2018, arXiv 1705.07115)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from defect_jax.balance.gradients import Shared, in_encoder
from defect_jax.balance.state import Seen
from defect_jax.balance.transform import INITIAL_STEPS, LossRule, weigh_losses


class UncertaintyMemory(NamedTuple):
    """What is learnt, and its optimizer's state."""

    log_variance: Any  # [tasks]
    opt_state: Any


def uncertainty(
    tasks: Sequence[str],
    learning_rate: float = 0.025,
    initial_steps: int = INITIAL_STEPS,
    shared: Shared = in_encoder,
) -> optax.GradientTransformationExtraArgs:
    """Learn the log variance s of each task's noise; its loss is weighted by exp(-s).

    Minimises sum_i exp(-s_i) L_i + s_i / 2, the form of equation 10 for classification likelihoods,
    by Adam on s from s = 0 (plain gradient descent leaps to weights of 0 for a loss in the
    hundreds). Assumes that each loss is a negative log-likelihood; where it settles, the weight is
    1 / (2 L), so a task with a small loss gets a large weight. A task absent from a batch keeps its
    s.

    Args:
        tasks: names of all tasks.
        learning_rate: of s.
        initial_steps: batches over which L(0) is averaged, for the log.
        shared: predicate on the path of a parameter.
    """
    if learning_rate <= 0.0:
        raise ValueError(f"learning_rate is {learning_rate}: must be above 0")

    tx = optax.adam(learning_rate)

    def learn(memory: UncertaintyMemory, seen: Seen) -> UncertaintyMemory:
        gradient = 0.5 - jnp.exp(-memory.log_variance) * seen.losses
        updates, opt_state = tx.update(gradient, memory.opt_state)
        moved = UncertaintyMemory(memory.log_variance + updates, opt_state)

        def where_present(new: Array, old: Array) -> Array:
            return jnp.where(seen.present, new, old) if new.ndim else new

        return jax.tree.map(where_present, moved, memory)

    zeros = jnp.zeros(len(tasks), jnp.float32)
    start = UncertaintyMemory(zeros, tx.init(zeros))
    rule = LossRule(start, lambda memory, *_: jnp.exp(-memory.log_variance), learn)
    return weigh_losses(tasks, rule, initial_steps, shared)
