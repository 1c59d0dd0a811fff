"""The average over mirrored views of a picture: steadier scores for four times the work."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from defect_jax.models.class_maps import mean_probabilities, probabilities_of
from defect_jax.models.network import Outputs


class Probabilities(NamedTuple):
    """What a network says of a batch: each class of defect at each pixel, and of the whole part."""

    mask: Float32[Array, "b h w classes"]
    label: Float32[Array, " b"] | None  # None without classification head


def probabilities(outputs: Outputs) -> Probabilities:
    """Probabilities from logits: of the refined map of them, else the mean of the heads'."""
    refined, label = outputs.refined_logits, outputs.label_logits
    if refined is None:
        mask = mean_probabilities(outputs.mask_logits)
    else:
        mask = probabilities_of(refined)
    return Probabilities(mask, None if label is None else nn.sigmoid(label))


def over_flips(
    predict: Callable[[Float[Array, "b h w c"]], Probabilities], image: Float[Array, "b h w c"]
) -> Probabilities:
    """Mean of the probabilities over the picture and its three mirror images, masks turned back.

    For parts that training flips as well; of no use where up and down differ.

    >>> def brightest_left(image):
    ...     return Probabilities(image, image[:, 0, 0, 0])
    >>> image = jnp.array([[[[0.8], [0.0]], [[0.4], [0.0]]]])
    >>> mean = over_flips(brightest_left, image)
    >>> mean.mask[..., 0].round(1).tolist(), mean.label.round(1).tolist()
    ([[[0.8, 0.0], [0.4, 0.0]]], [0.3])
    """
    views = jnp.stack([_flip(image, view) for view in range(4)])
    # One view after the other: the program is compiled once, and needs the memory of one.
    mask, label = jax.lax.map(lambda view: tuple(predict(view)), views)
    mask = jnp.stack([_flip(mask[view], view) for view in range(4)])
    return Probabilities(mask.mean(0), None if label is None else label.mean(0))


def _flip(array: Float[Array, "b h w ..."], view: int) -> Float[Array, "b h w ..."]:
    """View 1 is upside down, 2 left to right, 3 both; each undoes itself."""
    return array[:, :: -1 if view & 1 else 1, :: -1 if view & 2 else 1]
