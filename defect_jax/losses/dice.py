"""Soft Dice loss over a whole batch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32


def dice_loss(
    logits: Float[Array, "b h w 1"],
    mask: Float[Array, "b h w 1"],
    valid: Float[Array, "b h w 1"],
    smooth: float = 1.0,
) -> Float32[Array, ""]:
    """`1 - (2 Σ p m + s) / (Σ p + Σ m + s)`, p = σ(logits), sums over all pixels of the batch.

    One ratio for the batch and not one an image: most parts are good, and the Dice of an image
    without defect is close to 1 until every pixel of it is almost exactly 0, so that good parts
    would drown the defects. Under `jit` with a sharded batch the sums run over all devices.
    (Milletari et al. 2016, arXiv 1606.04797, equation 1, with plain sums below the line.)

    Args:
        logits: Any real number.
        mask: 1 = defect, 0 = background.
        valid: 1 = pixel of the image, 0 = padding, which is left out of all sums.
        smooth: s > 0, in pixels; keeps a batch without defect defined.

    Returns:
        Between 0 and 1. In a batch without defect `1 - s / (Σ p + s)`, which still asks for empty
        predictions; without valid pixel 0, and no gradient.

    Examples:
        Four pixels of probability 0.5, one of them a defect: `1 - (2 · 0.5 + 1) / (2 + 1 + 1)`.

        >>> mask = jnp.array([1.0, 0.0, 0.0, 0.0]).reshape(1, 2, 2, 1)
        >>> print(dice_loss(jnp.zeros((1, 2, 2, 1)), mask, jnp.ones((1, 2, 2, 1))))
        0.5
    """
    inside = valid > 0
    score = jnp.where(inside, jax.nn.sigmoid(_finite(logits, inside)), 0.0)
    mask = jnp.where(inside, mask.astype(jnp.float32), 0.0)
    overlap = jnp.sum(score * mask)
    return 1.0 - (2.0 * overlap + smooth) / (jnp.sum(score) + jnp.sum(mask) + smooth)


def _finite(logits: Array, inside: Array) -> Array:
    # A NaN in the padding would pass through the gradient of `where` as 0 * NaN.
    return jnp.where(inside, logits.astype(jnp.float32), 0.0)
