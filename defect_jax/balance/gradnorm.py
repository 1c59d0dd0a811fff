"""GradNorm (Chen, Badrinarayanan, Lee, Rabinovich, ICML 2018, arXiv 1711.02257)."""

from collections.abc import Sequence

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from defect_jax.balance.gradients import Shared, in_encoder
from defect_jax.balance.state import Seen
from defect_jax.balance.transform import INITIAL_STEPS, LossRule, weigh_losses

Weights = Float[Array, " tasks"]


def gradnorm(
    tasks: Sequence[str],
    alpha: float = 1.5,
    learning_rate: float = 0.025,
    floor: float = 0.05,
    initial_steps: int = INITIAL_STEPS,
    shared: Shared = in_encoder,
) -> optax.GradientTransformationExtraArgs:
    """Learn weights that let all tasks train at similar rates (Chen et al. 2018, algorithm 1).

    With g_i the norm of task i's gradient over the shared parameters and r_i its relative inverse
    training rate, the weights descend the L1 loss of equation 2,

        sum_i | w_i g_i - mean_j(w_j g_j) r_i^alpha |

    the target held constant. Its derivative is two multiplications (`weight_gradient`), so there is
    no second backward pass, and nothing of it can reach the network. Three things differ from the
    paper. Steps are taken in log w and divided by the mean norm: one of `learning_rate` changes a
    weight by that share whatever the scale of the losses, where a step in w itself jumps around a
    weight that has to become small. L(0) is the mean of the first `initial_steps` losses. Shared
    parameters are the whole encoder, see `in_encoder`.

    Losses must be positive. With `measure=False` a step uses the weights and moves none. A task
    that is absent from a batch keeps its weight, and with fewer than two present nothing moves.

    Args:
        tasks: names of all tasks; the weights of T tasks start at 1 and sum to T.
        alpha: strength of the pull towards equal rates; 0 makes the gradient norms equal.
        learning_rate: of the weights: largest relative change, about, in one measured step.
        floor: no weight falls below it.
        initial_steps: batches over which L(0) is averaged.
        shared: predicate on the path of a parameter.
    """
    if alpha < 0.0:
        raise ValueError(f"alpha is {alpha}: must not be negative")
    if not 0.0 <= floor < 1.0:
        raise ValueError(f"floor is {floor}: must be from 0 to below 1")
    if learning_rate <= 0.0:
        raise ValueError(f"learning_rate is {learning_rate}: must be above 0")

    def learn(weights: Weights, seen: Seen) -> Weights:
        if not seen.measured:
            return weights
        moving = seen.present & (seen.present.sum() > 1)
        gradient = weight_gradient(weights, seen.norms, seen.inverse_rates, moving, alpha)
        mean = _mean(weights * seen.norms, moving)
        step = learning_rate * gradient * weights / jnp.where(mean > 0.0, mean, 1.0)
        return normalised(weights * jnp.exp(-step), moving, weights, floor)

    start = jnp.ones(len(tasks), jnp.float32)
    rule = LossRule(start, lambda weights, losses, present: weights, learn)
    return weigh_losses(tasks, rule, initial_steps, shared)


def weight_gradient(
    weights: Weights,
    norms: Weights,
    inverse_rates: Weights,
    moving: Bool[Array, " tasks"],
    alpha: float,
) -> Weights:
    """Return the derivative of GradNorm's L1 loss with respect to the weights: sign(G - target) g.

    Args:
        norms: g of the unweighted gradients, so that G = w g.
        inverse_rates: r, relative to their mean.
        moving: tasks that take part; the others get 0 and count for nothing.

    >>> both = jnp.array([True, True])
    >>> weights, norms, rates = jnp.ones(2), jnp.array([4.0, 1.0]), jnp.array([1.2, 0.8])
    >>> weight_gradient(weights, norms, rates, both, 1.0).tolist()  # targets 3.0 and 2.0
    [4.0, -1.0]
    """
    weighted = weights * norms
    target = _mean(weighted, moving) * inverse_rates**alpha
    return jnp.where(moving, jnp.sign(weighted - target) * norms, 0.0)


def normalised(
    proposed: Weights, moving: Bool[Array, " tasks"], before: Weights, floor: float
) -> Weights:
    """Return weights scaled back to their sum, T, none below `floor`; those that do not move stay.

    >>> both = jnp.array([True, True])
    >>> normalised(jnp.array([3.0, 1.0]), both, jnp.ones(2), 0.05).tolist()
    [1.5, 0.5]
    >>> normalised(jnp.array([1.0, 0.0]), both, jnp.ones(2), 0.05).tolist()
    [1.95, 0.05]
    """
    total = before.size - jnp.sum(jnp.where(moving, 0.0, before))
    pinned = jnp.zeros_like(moving)
    scaled = proposed
    for _ in range(before.size):  # each scaling may push one more below the floor
        free = jnp.where(moving & ~pinned, proposed, 0.0)
        scaled = proposed * (total - floor * pinned.sum()) / jnp.maximum(free.sum(), 1e-30)
        pinned |= moving & (scaled <= floor)
    return jnp.where(moving, jnp.where(pinned, floor, scaled), before)


def _mean(values: Weights, moving: Bool[Array, " tasks"]) -> Float[Array, ""]:
    return jnp.sum(jnp.where(moving, values, 0.0)) / jnp.maximum(moving.sum(), 1)
