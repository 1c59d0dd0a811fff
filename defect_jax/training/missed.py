"""What the network still misses of each training part, kept in the state of the run.

It is what the steps themselves find, on images as they are changed for training: no pass of its
own.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32

from defect_jax.data.pipeline.batches import Batch
from defect_jax.models.network import Outputs
from defect_jax.models.probabilities import probabilities

NEWEST = 0.5  # weight of the newest batch with the part: about the last three times count


class Missed(NamedTuple):
    """How far the scores are from the truth: 0 = nothing is missed, 1 = all.

    The columns are a part's elements without a defect, and those with one.
    """

    now: Any  # shape=(parts, 2), float32
    drawn_by: Any  # the same, when the stretch began that the next step is in


def all_missed(parts: int) -> Missed:
    """Return the state of step 0: what was never seen counts as missed."""
    return Missed(np.ones((parts, 2), np.float32), np.ones((parts, 2), np.float32))


def updated(missed: Missed, outputs: Outputs, batch: Batch, step: Any, every_steps: int) -> Missed:
    """Return what is missed after a step.

    Args:
        batch: with the number of each element's part.
        step: steps before this one.
        every_steps: length of a stretch.
    """
    place = 2 * batch["part"] + (batch["label"] > 0)
    # Summed over a batch in one order, where a scatter would add as it comes.
    seen = (place[:, None] == jnp.arange(missed.now.size)[None]).astype(jnp.float32)
    count, total = seen.sum(0), (seen * distance(outputs, batch)[:, None]).sum(0)
    found = (total / jnp.maximum(count, 1.0)).reshape(missed.now.shape)
    mixed = missed.now + NEWEST * (found - missed.now)
    now = jnp.where(count.reshape(missed.now.shape) > 0, mixed, missed.now)
    return Missed(now, jnp.where((step + 1) % every_steps == 0, now, missed.drawn_by))


def distance(outputs: Outputs, batch: Batch) -> Float32[Array, " b"]:
    """Return how far the scores by which an image is decided are from its label, 0 … 1.

    They are the label's probability, where there is one, and the highest of the mask.
    """
    found = probabilities(outputs)
    on_mask = (found.mask.max(axis=-1) * batch["valid"]).max(axis=(1, 2))
    scores = [on_mask] if found.label is None else [on_mask, found.label]
    return jnp.abs(jnp.stack(scores) - batch["label"][None]).mean(axis=0)
