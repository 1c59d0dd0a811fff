"""The loss of the label task."""

from jaxtyping import Array, Float, Float32

from defect_jax.losses.cross_entropy import binary_cross_entropy


def classification_loss(
    label_logits: Float[Array, " b"], label: Float[Array, " b"], weight: Float[Array, " b"]
) -> Float32[Array, ""]:
    """Return the weighted mean of the binary cross-entropy over the images of a batch.

    Args:
        label_logits: One an image.
        label: 1 = defective, 0 = good.
        weight: 1 = image, 0 = filler of an incomplete batch; other weights are allowed.

    Returns:
        The mean in nats; 0 when all weights are 0.

    Examples:
        The third image is filler; the others cost log(1 + 1/e) and log 2.

        >>> import jax.numpy as jnp
        >>> logits, label = jnp.array([1.0, 0.0, 5.0]), jnp.array([1.0, 0.0, 0.0])
        >>> print(f"{classification_loss(logits, label, jnp.array([1.0, 1.0, 0.0])):.4f}")
        0.5032
    """
    return binary_cross_entropy(label_logits, label, weight)
