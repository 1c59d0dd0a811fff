"""Weights of pixels in the cross-entropy: more where a defect is, or is thought to be."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Float32

FADE_PX = 3  # side of the window that blurs the dilated mask's edge


def pixel_weight(
    mask: Float[Array, "b h w 1"],
    valid: Float[Array, "b h w 1"],
    found: Float[Array, "b h w 1"] | None,
    strength: float,
    dilation_px: int,
) -> Float32[Array, "b h w 1"]:
    """Return `1 + λ max(found, blur(dilate(mask, r)))`, brought to mean one over the batch's valid
    pixels.

    The mean is held because otherwise λ is a learning rate in disguise. The true mask is always in
    it: a defect that localisation misses must not weigh less for that. LPC-Net (Wang et al. 2025,
    Sensors 25(15), 4548) describes weights from localisation in words; this form is ours.

    Args:
        mask: 1 = defect.
        valid: 1 = pixel of the image, 0 = padding, which gets weight 0.
        found: probability that a defect is near, from localisation; None: the mask alone. No
            gradient goes back into it: the network would lower its own weights to lower the loss.
        strength: λ, 0 or more.
        dilation_px: r, by which the mask grows to every side before its edge is blurred.

    Examples:
        The second pixel of four is defect, and nothing is dilated: blurred, it and its neighbours
        have 1/3, and 1 + 3 · 1/3 = 2. The mean of 2, 2, 2, 1 is 1.75.

        >>> mask = jnp.array([0.0, 1.0, 0.0, 0.0]).reshape(1, 1, 4, 1)
        >>> everywhere = jnp.ones_like(mask)
        >>> weights = pixel_weight(mask, everywhere, None, strength=3.0, dilation_px=0)
        >>> [f"{weight:.3f}" for weight in weights.ravel().tolist()]
        ['1.143', '1.143', '1.143', '0.571']
    """
    near = _blurred(_dilated(jnp.where(valid > 0, mask.astype(jnp.float32), 0.0), dilation_px))
    if found is not None:
        near = jnp.maximum(near, lax.stop_gradient(found.astype(jnp.float32)))
    weight = jnp.where(valid > 0, 1.0 + strength * near, 0.0)
    pixels = jnp.maximum(jnp.sum(valid > 0), 1)
    return weight / jnp.maximum(jnp.sum(weight) / pixels, jnp.finfo(jnp.float32).tiny)


def _dilated(mask: Float32[Array, "b h w 1"], reach_px: int) -> Float32[Array, "b h w 1"]:
    """Return the highest value in a square window: along one axis, then along the other."""
    side_px = 2 * reach_px + 1
    along = nn.max_pool(mask, (side_px, 1), padding="SAME")
    return nn.max_pool(along, (1, side_px), padding="SAME")


def _blurred(mask: Float32[Array, "b h w 1"]) -> Float32[Array, "b h w 1"]:
    reach = (FADE_PX // 2, FADE_PX // 2)
    padded = jnp.pad(mask, ((0, 0), reach, reach, (0, 0)), mode="edge")
    return nn.avg_pool(padded, (FADE_PX, FADE_PX))
