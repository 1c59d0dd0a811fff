"""Binary cross-entropy from logits, as a weighted mean."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32


def binary_cross_entropy(
    logits: Float[Array, "*shape"], target: Float[Array, "*shape"], weight: Float[Array, "*shape"]
) -> Float32[Array, ""]:
    """Return the mean of `-t log σ(z) - (1 - t) log(1 - σ(z))`, weighted; in nats.

    Safe for any finite logits, in bfloat16 too: everything is computed in float32, and
    `log(1 - σ(z))` as `log σ(-z)`, which does not round to log 0.

    Args:
        logits: z, any real number.
        target: t, 0 … 1.
        weight: Not negative; where it is 0, neither value nor gradient see anything, not even a
            logit that is not finite.

    Returns:
        The mean; 0 when all weights are 0.

    Examples:
        Half of the pixels are padding. The others have losses log 2 and log(1 + e²):

        >>> logits = jnp.array([0.0, 2.0, 9.0, 9.0])
        >>> target = jnp.array([1.0, 0.0, 0.0, 0.0])
        >>> weight = jnp.array([1.0, 1.0, 0.0, 0.0])
        >>> print(f"{binary_cross_entropy(logits, target, weight):.4f}")
        1.4100
    """
    weight = weight.astype(jnp.float32)
    target = target.astype(jnp.float32)
    logits = jnp.where(weight > 0, logits.astype(jnp.float32), 0.0)
    losses = -target * jax.nn.log_sigmoid(logits) - (1.0 - target) * jax.nn.log_sigmoid(-logits)
    total = jnp.sum(weight)
    return jnp.sum(weight * losses) / jnp.where(total > 0, total, 1.0)


def categorical_cross_entropy(
    logits: Float[Array, "*shape c"],
    target: Float[Array, "*shape c"],
    weight: Float[Array, "*shape"],
) -> Float32[Array, ""]:
    """Return the mean of `-Σ t log softmax(z)`, weighted; in nats.

    Args:
        logits: z, one channel a class, any real number.
        target: t, the classes' shares: not negative, summing to 1.
        weight: not negative; where it is 0, neither value nor gradient see anything.

    Returns:
        The mean; 0 when all weights are 0.

    Examples:
        Three classes, all alike, cost log 3; the second pixel is sure and right, and costs
        -log(e⁵ / (e⁵ + 2)). The first counts three times.

        >>> logits = jnp.array([[0.0, 0.0, 0.0], [0.0, 5.0, 0.0]])
        >>> target = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> print(f"{categorical_cross_entropy(logits, target, jnp.array([3.0, 1.0])):.4f}")
        0.8273
    """
    weight = weight.astype(jnp.float32)
    logits = jnp.where(weight[..., None] > 0, logits.astype(jnp.float32), 0.0)
    losses = -jnp.sum(target.astype(jnp.float32) * jax.nn.log_softmax(logits), axis=-1)
    total = jnp.sum(weight)
    return jnp.sum(weight * losses) / jnp.where(total > 0, total, 1.0)
