"""Soft Dice loss over the defective images of a batch."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32

from defect_jax.models.class_maps import probabilities_of

IMAGE = (1, 2)  # axes of one image's pixels


def dice_loss(
    logits: Float[Array, "b h w c"],
    mask: Float[Array, "b h w c"],
    valid: Float[Array, "b h w 1"],
    smooth: float = 1.0,
) -> Float32[Array, ""]:
    """Return the mean of `1 - (2 Σ p m + s) / (Σ p + Σ m + s)` over the defective images and their
    classes.

    One ratio an image and class: a pit of thirty pixels counts as much as a stain of ten thousand.
    One ratio for the whole batch is ruled by the stains, and the network never learns the pits.
    Images without defect are left out, because their ratio is close to 1 until every pixel of
    them is almost exactly 0, so that they would drown the others; cross-entropy teaches them, and
    the classes that an image does not have.
    (Milletari et al. 2016, arXiv 1606.04797, equation 1, with plain sums below the line.)

    Args:
        logits: any real number; c = 1 for defect or not (p = σ), otherwise background first
            (p = softmax), and background has no ratio.
        mask: 1 where the pixel is of that class, 0 elsewhere.
        valid: 1 = pixel of the image, 0 = padding, which is left out of all sums.
        smooth: s > 0, in pixels; tames the ratio of defects of a few pixels.

    Returns:
        Between 0 and 1; 0 and no gradient in a batch without a valid pixel of defect.

    Examples:
        The first image has four pixels of probability 0.5, one of them a defect:
        `1 - (2 · 0.5 + 1) / (2 + 1 + 1)`. The second has no defect and does not count.

        >>> mask = jnp.array([1.0, 0.0, 0.0, 0.0] + [0.0] * 4).reshape(2, 2, 2, 1)
        >>> print(dice_loss(jnp.zeros((2, 2, 2, 1)), mask, jnp.ones((2, 2, 2, 1))))
        0.5
    """
    inside = valid > 0
    score = jnp.where(inside, probabilities_of(_finite(logits, inside)), 0.0)
    mask = jnp.where(inside, mask[..., -score.shape[-1] :].astype(jnp.float32), 0.0)
    overlap, area = jnp.sum(score * mask, IMAGE), jnp.sum(mask, IMAGE)
    losses = 1.0 - (2.0 * overlap + smooth) / (jnp.sum(score, IMAGE) + area + smooth)
    return _mean_where(losses, area > 0)


def _mean_where(
    values: Float[Array, "b classes"], chosen: Bool[Array, "b classes"]
) -> Float32[Array, ""]:
    return jnp.sum(jnp.where(chosen, values, 0.0)) / jnp.maximum(jnp.sum(chosen), 1)


def _finite(logits: Array, inside: Array) -> Array:
    # A NaN in the padding would pass through the gradient of `where` as 0 * NaN.
    return jnp.where(inside, logits.astype(jnp.float32), 0.0)
