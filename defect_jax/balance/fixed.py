"""Weights that stay: the baseline of every comparison."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import optax

from defect_jax.balance.gradients import Shared, in_encoder
from defect_jax.balance.transform import INITIAL_STEPS, LossRule, weigh_losses


def fixed(
    tasks: Sequence[str],
    weights: Mapping[str, float] | None = None,
    initial_steps: int = INITIAL_STEPS,
    shared: Shared = in_encoder,
) -> optax.GradientTransformationExtraArgs:
    """Return the gradient of the sum of the losses, each times a constant.

    Dong et al., "Sample-Centric Multi-Task Learning" (arXiv 2510.13226), use 0.5 and 0.5, as its
    published usage notes state. Assumes that somebody knows the scale of every loss.

    Args:
        tasks: names of all tasks.
        weights: one a task, more are ignored; 1 each by default.
        initial_steps: batches over which L(0) is averaged, for the log.
        shared: predicate on the path of a parameter.
    """
    weights = dict.fromkeys(tasks, 1.0) if weights is None else weights
    if missing := sorted(set(tasks) - set(weights)):
        raise ValueError(f"weights: none for {', '.join(missing)}")
    constant = jnp.array([weights[task] for task in sorted(tasks)], jnp.float32)
    rule = LossRule((), lambda *_: constant, lambda memory, _: memory)
    return weigh_losses(tasks, rule, initial_steps, shared)
