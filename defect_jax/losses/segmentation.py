"""The loss of the mask task."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, UInt

from defect_jax.losses.cross_entropy import binary_cross_entropy, categorical_cross_entropy
from defect_jax.losses.dice import dice_loss


def segmentation_loss(
    mask_logits: Float[Array, "heads b h w c"],
    mask: Float[Array, "b h w c"],
    valid: Float[Array, "b h w 1"],
    bce_weight: float = 0.5,
    dice_weight: float = 1.0,
    pixel_weight: Float[Array, "b h w 1"] | None = None,
) -> Float32[Array, ""]:
    """Return the mean over the deep-supervision heads of `bce_weight · BCE + dice_weight · Dice`.

    Cross-entropy gives every pixel a gradient from the first step on, those of good images too;
    Dice counts every defective image the same, however small its defect. Both leave padding out.

    Args:
        mask_logits: one map a head; c = 1 for defect or not, otherwise background first.
        mask: 1 where the pixel is of that class, see `one_hot`.
        valid: 1 = pixel of the image, 0 = padding.
        bce_weight: of the mean cross-entropy over the valid pixels.
        dice_weight: of the mean Dice loss of the defective images.
        pixel_weight: of the pixels in the cross-entropy; None: all alike. See
            `losses.pixel_weight`.

    Examples:
        Logits 0 everywhere: 0.5 · log 2 + 0.5, for one head as for two that agree.

        >>> mask = jnp.array([1.0, 0.0, 0.0, 0.0]).reshape(1, 2, 2, 1)
        >>> loss = segmentation_loss(jnp.zeros((2, 1, 2, 2, 1)), mask, jnp.ones((1, 2, 2, 1)))
        >>> print(f"{loss:.4f}")
        0.8466
    """
    weight = valid if pixel_weight is None else valid * pixel_weight

    def one_head(logits: Float[Array, "b h w c"]) -> Float32[Array, ""]:
        entropy = _cross_entropy(logits, mask, weight)
        return bce_weight * entropy + dice_weight * dice_loss(logits, mask, valid)

    return jnp.mean(jax.vmap(one_head)(mask_logits))


def one_hot(mask: UInt[Array, "b h w"], channels: int) -> Float32[Array, "b h w c"]:
    """Return the true classes as the logits have them.

    Args:
        mask: class of each pixel, 0 = background.
        channels: c of the logits: 1 for defect or not, otherwise background first.

    >>> one_hot(jnp.array([[[0, 2]]], jnp.uint8), 3).tolist()
    [[[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]]
    >>> one_hot(jnp.array([[[0, 1]]], jnp.uint8), 1).tolist()
    [[[[0.0], [1.0]]]]
    """
    if channels == 1:
        return (mask > 0).astype(jnp.float32)[..., None]
    return jax.nn.one_hot(mask, channels, dtype=jnp.float32)


def _cross_entropy(
    logits: Float[Array, "b h w c"], mask: Float[Array, "b h w c"], weight: Float[Array, "b h w 1"]
) -> Float32[Array, ""]:
    if logits.shape[-1] == 1:
        return binary_cross_entropy(logits, mask, weight)
    return categorical_cross_entropy(logits, mask, weight[..., 0])
