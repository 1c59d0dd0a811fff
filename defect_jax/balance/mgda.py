"""MGDA, the multiple-gradient descent algorithm (Sener, Koltun, NeurIPS 2018, arXiv 1810.04650)."""

from collections.abc import Sequence

import optax
from jaxtyping import Array, Bool, Float, Int

from defect_jax.balance.gradients import Shared, in_encoder
from defect_jax.balance.simplex import Line, minimise_over_simplex
from defect_jax.balance.transform import INITIAL_STEPS, weigh_gradients


def mgda(
    tasks: Sequence[str], initial_steps: int = INITIAL_STEPS, shared: Shared = in_encoder
) -> optax.GradientTransformationExtraArgs:
    """Take the shortest vector among all weighted means of the gradients (equation 3).

    It never points against a task, and is 0 only where no direction helps all of them. Exact for
    two tasks (algorithm 1 of the paper), by repeated exact line searches for more. Assumes nothing
    of the losses, but sees their scale: the task with the smallest gradient gets most of the
    weight.

    Args:
        tasks: names of all tasks.
        initial_steps: batches over which L(0) is averaged, for the log.
        shared: predicate on the path of a parameter.
    """

    def rule(
        present: Bool[Array, " tasks"], gram: Float[Array, "tasks tasks"], count: Int[Array, ""]
    ) -> Float[Array, " tasks"]:
        return shortest(gram, present)

    return weigh_gradients(tasks, rule, initial_steps, shared)


def shortest(
    gram: Float[Array, "tasks tasks"], present: Bool[Array, " tasks"]
) -> Float[Array, " tasks"]:
    """Return weights of the shortest weighted mean of the present gradients.

    >>> import jax.numpy as jnp
    >>> gram = jnp.array([[1.0, 0.0], [0.0, 4.0]])
    >>> shortest(gram, jnp.array([True, True])).tolist()
    [0.8, 0.2]
    """

    def line_minimum(line: Line) -> Float[Array, ""]:
        return -line.cross / line.square

    return minimise_over_simplex(gram, present, line_minimum)
