"""FAMO (Liu, Feng, Stone, Liu, NeurIPS 2023, arXiv 2306.03792)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from defect_jax.balance.gradients import Shared, in_encoder
from defect_jax.balance.state import Seen
from defect_jax.balance.transform import INITIAL_STEPS, LossRule, weigh_losses

SMALLEST_LOSS = 1e-8


class FamoMemory(NamedTuple):
    """Logits of the weights, their optimizer's state, and the logarithms of the last losses."""

    logits: Any  # [tasks]
    opt_state: Any
    log_losses: Any  # [tasks]
    known: Any  # [tasks] bool, whether there is a last loss


def famo(
    tasks: Sequence[str],
    learning_rate: float = 0.025,
    decay: float = 0.01,
    initial_steps: int = INITIAL_STEPS,
    shared: Shared = in_encoder,
) -> optax.GradientTransformationExtraArgs:
    """Let the logarithms of all losses fall at the same speed (algorithm 1), without gradients.

    Weights are softmax(logits) / L, scaled to sum to 1; the logits of the task whose log loss fell
    least grow, by Adam. The paper measures the fall by evaluating the same batch a second time
    after the step; here it is the difference between consecutive batches, which costs nothing and
    is noisier. Losses must be positive with their minimum at 0. A batch that lacks a task moves no
    logits.

    Args:
        tasks: names of all tasks.
        learning_rate: of the logits.
        decay: of the logits towards equal weights (gamma).
        initial_steps: batches over which L(0) is averaged, for the log.
        shared: predicate on the path of a parameter.
    """
    if learning_rate <= 0.0 or decay < 0.0:
        raise ValueError(f"learning_rate {learning_rate} must be above 0, decay {decay} at least 0")
    tx = optax.chain(optax.add_decayed_weights(decay), optax.adam(learning_rate))

    def weigh(
        memory: FamoMemory, losses: Float[Array, " tasks"], present: Bool[Array, " tasks"]
    ) -> Float[Array, " tasks"]:
        share = jax.nn.softmax(memory.logits) / (jnp.where(present, losses, 1.0) + SMALLEST_LOSS)
        share = jnp.where(present, share, 0.0)
        total = share.sum()
        return share / jnp.where(total > 0.0, total, 1.0)

    def learn(memory: FamoMemory, seen: Seen) -> FamoMemory:
        log_losses = jnp.log(jnp.where(seen.present, seen.losses, 1.0) + SMALLEST_LOSS)
        (gradient,) = jax.vjp(jax.nn.softmax, memory.logits)[1](memory.log_losses - log_losses)
        updates, opt_state = tx.update(gradient, memory.opt_state, memory.logits)
        moved = FamoMemory(
            optax.apply_updates(memory.logits, updates), opt_state, log_losses, memory.known
        )
        moving = jnp.all(seen.present & memory.known)
        kept = jax.tree.map(lambda new, old: jnp.where(moving, new, old), moved, memory)
        log_losses = jnp.where(seen.present, log_losses, memory.log_losses)
        return kept._replace(log_losses=log_losses, known=memory.known | seen.present)

    zeros = jnp.zeros(len(tasks), jnp.float32)
    start = FamoMemory(zeros, tx.init(zeros), zeros, jnp.zeros(len(tasks), bool))
    rule = LossRule(start, weigh, learn)
    return weigh_losses(tasks, rule, initial_steps, shared)
