"""PCGrad, gradient surgery (Yu et al., NeurIPS 2020, arXiv 2001.06782)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from defect_jax.balance.gradients import Shared, in_encoder
from defect_jax.balance.transform import INITIAL_STEPS, weigh_gradients

Gram = Float[Array, "tasks tasks"]
Weights = Float[Array, " tasks"]


def pcgrad(
    tasks: Sequence[str],
    seed: int = 0,
    initial_steps: int = INITIAL_STEPS,
    shared: Shared = in_encoder,
) -> optax.GradientTransformationExtraArgs:
    """Take out of each gradient what points against another one, and sum (algorithm 1).

    Gradients that agree are summed as they are. All shared parameters count as one vector: done
    layer by layer it is another method. Assumes that the scales of the losses are right; it settles
    conflicts of direction only.

    Args:
        tasks: names of all tasks.
        seed: of the order in which each gradient meets the others, drawn anew at every step; with
            two tasks there is one order.
        initial_steps: batches over which L(0) is averaged, for the log.
        shared: predicate on the path of a parameter.
    """

    def rule(present: Bool[Array, " tasks"], gram: Gram, count: Int[Array, ""]) -> Weights:
        number = len(tasks)
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), count), number)
        orders = jax.vmap(lambda key: jax.random.permutation(key, number))(keys)
        return projected(gram, orders, present)

    return weigh_gradients(tasks, rule, initial_steps, shared)


def projected(
    gram: Gram, orders: Int[Array, "tasks tasks"], present: Bool[Array, " tasks"]
) -> Weights:
    """Sum of all projected gradients, as a weight for each of the original ones.

    Args:
        gram: inner products of the gradients.
        orders: in row i the order in which gradient i meets the others.

    >>> gram = jnp.array([[1.0, -1.0], [-1.0, 4.0]])
    >>> orders = jnp.array([[0, 1], [0, 1]])
    >>> projected(gram, orders, jnp.array([True, True])).tolist()  # (1, 1/4) and (1, 1)
    [2.0, 1.25]
    """

    def project(index: Int[Array, ""], order: Int[Array, " tasks"]) -> Weights:
        weights = jax.nn.one_hot(index, gram.shape[0])
        for position in range(gram.shape[0]):
            other = order[position]
            product, square = weights @ gram[:, other], gram[other, other]
            conflict = (product < 0.0) & (other != index) & (square > 0.0)
            share = jnp.where(conflict, product / jnp.where(square > 0.0, square, 1.0), 0.0)
            weights = weights.at[other].add(-share)
        return weights

    rows = jax.vmap(project)(jnp.arange(gram.shape[0]), orders)
    return jnp.sum(jnp.where(present[:, None], rows, 0.0), axis=0)
