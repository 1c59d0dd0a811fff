"""Mask logits of several heads as one map of logits, and as probabilities of the classes.

Logits have one channel where a pixel is defect or not (its log odds), and one for background and
one for each class of defect where there are several (softmax). Everything behind the heads that
has to know how many there are asks the functions here.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32


def log_probabilities(logits: Float[Array, "*shape c"]) -> Float32[Array, "*shape k"]:
    """Return the log-probability of background and of each class of defect.

    Args:
        logits: c = 1 for defect or not, otherwise background first.

    Returns:
        k = 2 for c = 1, otherwise c.

    >>> jnp.exp(log_probabilities(jnp.array([[0.0], [jnp.log(3.0)]]))).round(2).tolist()
    [[0.5, 0.5], [0.25, 0.75]]
    """
    logits = logits.astype(jnp.float32)
    if logits.shape[-1] > 1:
        return nn.log_softmax(logits)
    return jnp.concatenate([nn.log_sigmoid(-logits), nn.log_sigmoid(logits)], axis=-1)


def log_odds(logits: Float[Array, "*shape c"]) -> Float32[Array, "*shape"]:
    """Return the log odds of any defect at each pixel.

    >>> log_odds(jnp.array([[0.0, 0.0, 0.0]])).round(4).tolist()  # 2 : 1
    [0.6931]
    """
    logits = logits.astype(jnp.float32)
    if logits.shape[-1] == 1:
        return logits[..., 0]
    return jax.nn.logsumexp(logits[..., 1:], axis=-1) - logits[..., 0]


def mean_logits(mask_logits: Float32[Array, "heads b h w c"]) -> Float32[Array, "b h w c"]:
    """Return logits of the mean over the heads of their probabilities.

    Probabilities, not logits, are averaged: one head that is very sure cannot outvote all others.

    >>> logits = jnp.array([-2.0, 4.0]).reshape(2, 1, 1, 1, 1)
    >>> print(f"{jax.nn.sigmoid(mean_logits(logits)).item():.4f}")  # the mean of 0.1192 and 0.9820
    0.5506
    """
    if mask_logits.shape[0] == 1:
        return mask_logits[0]
    heads = log_probabilities(mask_logits)
    mean = jax.nn.logsumexp(heads, axis=0) - jnp.log(jnp.float32(len(heads)))
    return mean[..., 1:] - mean[..., :1] if mask_logits.shape[-1] == 1 else mean


def probabilities_of(logits: Float[Array, "*shape c"]) -> Float32[Array, "*shape classes"]:
    """Return the probability of each class of defect at each pixel, without background.

    >>> probabilities_of(jnp.zeros((1, 1, 1, 4))).tolist()
    [[[[0.25, 0.25, 0.25]]]]
    """
    if logits.shape[-1] > 1:
        return nn.softmax(logits.astype(jnp.float32))[..., 1:]
    return nn.sigmoid(logits.astype(jnp.float32))


def mean_probabilities(
    mask_logits: Float32[Array, "heads b h w c"],
) -> Float32[Array, "b h w classes"]:
    """Return `probabilities_of(mean_logits(mask_logits))` without the way there and back through
    logarithms.

    >>> logits = jnp.array([-2.0, 4.0]).reshape(2, 1, 1, 1, 1)
    >>> print(f"{mean_probabilities(logits).item():.4f}")  # of 0.1192 and 0.9820
    0.5506
    """
    return probabilities_of(mask_logits).mean(axis=0)
