"""The loss of the mask task."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from defect_jax.losses.cross_entropy import binary_cross_entropy
from defect_jax.losses.dice import dice_loss


def segmentation_loss(
    mask_logits: Float[Array, "heads b h w 1"],
    mask: Float[Array, "b h w 1"],
    valid: Float[Array, "b h w 1"],
    bce_weight: float = 0.5,
    dice_weight: float = 1.0,
) -> Float32[Array, ""]:
    """Mean over the deep-supervision heads of `bce_weight · BCE + dice_weight · Dice`.

    Cross-entropy gives every pixel a gradient from the first step on, those of good pictures too;
    Dice counts every defective picture the same, however small its defect. Both leave padding out.

    Args:
        mask_logits: One map a head.
        mask: 1 = defect, 0 = background.
        valid: 1 = pixel of the image, 0 = padding.
        bce_weight: Of the mean cross-entropy over the valid pixels.
        dice_weight: Of the mean Dice loss of the defective pictures.

    Examples:
        Logits 0 everywhere: 0.5 · log 2 + 0.5, for one head as for two that agree.

        >>> mask = jnp.array([1.0, 0.0, 0.0, 0.0]).reshape(1, 2, 2, 1)
        >>> loss = segmentation_loss(jnp.zeros((2, 1, 2, 2, 1)), mask, jnp.ones((1, 2, 2, 1)))
        >>> print(f"{loss:.4f}")
        0.8466
    """

    def one_head(logits: Float[Array, "b h w 1"]) -> Float32[Array, ""]:
        bce = binary_cross_entropy(logits, mask, valid)
        return bce_weight * bce + dice_weight * dice_loss(logits, mask, valid)

    return jnp.mean(jax.vmap(one_head)(mask_logits))
