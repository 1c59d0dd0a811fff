"""The loss of the localisation task: which cells of the grid hold a defect."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from defect_jax.losses.cross_entropy import binary_cross_entropy
from defect_jax.losses.dice import dice_loss

MOST_POSITIVE_WEIGHT = 20.0


def localisation_loss(
    cell_logits: Float[Array, "b rows columns 1"],
    mask: Float[Array, "b h w 1"],
    valid: Float[Array, "b h w 1"],
) -> Float32[Array, ""]:
    """Return the cross-entropy of the cells plus Dice of the defective images' cells.

    A cell holds a defect when one of its pixels does. Cells with a defect weigh in the
    cross-entropy as often as there are good ones for each of them, at most 20 times; cells without
    a pixel of the image count nowhere.

    Args:
        cell_logits: one a cell.
        mask: 1 = defect; its sides are multiples of the grid's.
        valid: 1 = pixel of the image, 0 = padding.

    Examples:
        Two cells of two pixels; the first holds a defect of one pixel. Weights 1 and 1, logits 0:
        log 2 + (1 - (2 · 0.5 + 1) / (1 + 1 + 1)).

        >>> mask = jnp.array([[1.0, 0.0, 0.0, 0.0], [0.0] * 4]).reshape(1, 2, 4, 1)
        >>> loss = localisation_loss(jnp.zeros((1, 1, 2, 1)), mask, jnp.ones((1, 2, 4, 1)))
        >>> print(f"{loss:.4f}")
        1.0265
    """
    cell = (mask.shape[1] // cell_logits.shape[1], mask.shape[2] // cell_logits.shape[2])
    truth = nn.max_pool(mask * valid, window_shape=cell, strides=cell)
    there = nn.max_pool(valid, window_shape=cell, strides=cell)
    positive, negative = jnp.sum(truth), jnp.sum(there * (1.0 - truth))
    ratio = jnp.minimum(negative / jnp.maximum(positive, 1.0), MOST_POSITIVE_WEIGHT)
    weight = there * jnp.where(truth > 0, jnp.maximum(ratio, 1.0), 1.0)
    entropy = binary_cross_entropy(cell_logits, truth, weight)
    return entropy + dice_loss(cell_logits, truth, there)
