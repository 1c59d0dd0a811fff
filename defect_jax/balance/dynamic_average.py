"""Dynamic weight average (Liu, Johns, Davison, CVPR 2019, arXiv 1803.10704)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from defect_jax.balance.gradients import Shared, in_encoder
from defect_jax.balance.state import Seen
from defect_jax.balance.transform import INITIAL_STEPS, LossRule, weigh_losses


class Windows(NamedTuple):
    """Losses of the window that runs, and the means of the two before it."""

    total: Any  # [tasks]
    batches: Any  # [tasks]
    last: Any  # [tasks], 0 before the first window is over
    before: Any  # [tasks], 0 before the second


def dynamic_weight_average(
    tasks: Sequence[str],
    temperature: float = 2.0,
    window_steps: int = 50,
    initial_steps: int = INITIAL_STEPS,
    shared: Shared = in_encoder,
) -> optax.GradientTransformationExtraArgs:
    """Give more weight to the task whose loss fell less lately (section 3.2, equation 7).

    w = T softmax(rate / temperature), rate the ratio of a loss's mean over the last window of steps
    to that over the one before; all weights are 1 until two windows are over. The paper's window is
    an epoch; here it is counted in steps. Assumes nothing of the losses' scales, and sees none: the
    weights stay near 1 while all losses fall by the same share.

    Args:
        tasks: names of all tasks.
        temperature: a higher one makes the weights more equal.
        window_steps: batches over which a loss is averaged.
        initial_steps: batches over which L(0) is averaged, for the log.
        shared: predicate on the path of a parameter.
    """
    if temperature <= 0.0:
        raise ValueError(f"temperature is {temperature}: must be above 0")
    if window_steps < 1:
        raise ValueError(f"window_steps is {window_steps}: must be at least 1")

    def weigh(
        windows: Windows, losses: Float[Array, " tasks"], present: Bool[Array, " tasks"]
    ) -> Float[Array, " tasks"]:
        known = windows.before > 0.0
        rate = jnp.where(known, windows.last / jnp.where(known, windows.before, 1.0), 1.0)
        return len(tasks) * jax.nn.softmax(rate / temperature)

    def learn(windows: Windows, seen: Seen) -> Windows:
        total = windows.total + seen.losses
        batches = windows.batches + seen.present
        over = ((seen.count + 1) % window_steps == 0) & (batches > 0)
        last = jnp.where(over, total / jnp.maximum(batches, 1), windows.last)
        before = jnp.where(over, windows.last, windows.before)
        return Windows(jnp.where(over, 0.0, total), jnp.where(over, 0, batches), last, before)

    zeros = jnp.zeros(len(tasks), jnp.float32)
    start = Windows(zeros, jnp.zeros(len(tasks), jnp.int32), zeros, zeros)
    rule = LossRule(start, weigh, learn)
    return weigh_losses(tasks, rule, initial_steps, shared)
