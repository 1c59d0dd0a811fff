"""The one place where the losses of the tasks become one."""

from collections.abc import Mapping

from jaxtyping import Array, Float


def combine(
    task_losses: Mapping[str, Float[Array, ""]], task_weights: Mapping[str, float]
) -> Float[Array, ""]:
    """Weighted sum of the losses of the tasks that are there.

    The default 0.5/0.5 is the fixed weighting of Dong et al., "Sample-Centric Multi-Task Learning"
    (arXiv 2510.13226), as its published usage notes state it.

    >>> import jax.numpy as jnp
    >>> losses = {"segmentation": jnp.array(0.8), "classification": jnp.array(0.2)}
    >>> combine(losses, {"segmentation": 0.5, "classification": 0.5}).item()
    0.5
    """
    return sum(task_weights[task] * loss for task, loss in task_losses.items())
