"""The loss of a mask by the label of its image alone."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from defect_jax.losses.cross_entropy import binary_cross_entropy
from defect_jax.models.class_maps import log_odds


def highest_pixel_loss(
    mask_logits: Float[Array, "heads b h w c"],
    label: Float[Array, " b"],
    valid: Float[Array, "b h w 1"],
) -> Float32[Array, ""]:
    """Return the mean cross-entropy of each image's label and its highest probability of a pixel.

    Somewhere on a defective part a pixel should be high, and nowhere on a good one: all that a
    label says of a mask (multiple-instance learning, Dietterich et al. 1997). The mean is over the
    heads and the images with a valid pixel.

    Args:
        mask_logits: one map a head; c = 1 for defect or not, otherwise background first.
        label: 1 = defective, 0 = good.
        valid: 1 = pixel of the image, 0 = padding, which counts nowhere.

    Examples:
        A defective image whose highest log odds are 1, a good one whose are 0; the second pixel of
        the good one is padding: (log(1 + 1/e) + log 2) / 2.

        >>> logits = jnp.array([[-3.0, 1.0], [0.0, 9.0]]).reshape(1, 2, 1, 2, 1)
        >>> valid = jnp.array([[1.0, 1.0], [1.0, 0.0]]).reshape(2, 1, 2, 1)
        >>> print(f"{highest_pixel_loss(logits, jnp.array([1.0, 0.0]), valid):.4f}")
        0.5032
    """
    inside = valid[..., 0] > 0
    image = inside.any(axis=(1, 2)).astype(jnp.float32)

    def one_head(logits: Float[Array, "b h w c"]) -> Float32[Array, ""]:
        highest = jnp.where(inside, log_odds(logits), -jnp.inf).max(axis=(1, 2))
        return binary_cross_entropy(jnp.where(image > 0, highest, 0.0), label, image)

    return jnp.mean(jax.vmap(one_head)(mask_logits))
