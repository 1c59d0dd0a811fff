"""What an image looks like to a network: light, contrast, sharpness, and its mean features.

All of it is read off what the network computes anyway. A program returns sums over the pixels that
are shown (`sums`), so that the tiles of a large image add up, and `numbers` makes statistics of
them, in NumPy as in JAX. Padding and what is hidden count for nothing.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

MOST_FEATURES = 128  # of more, those that a change of light or lens does not touch drown the others
LOOKS = 3  # statistics of each channel: brightness, contrast, sharpness
FLOOR = 0.01  # of a deviation of the training images: what is flatter counts as that flat
LEAST_AREA_PX = 1e-6  # an image that is hidden as a whole has numbers, too


def chosen_rows(features: Sequence[Float[Array, "b _ _ _"]]) -> list[Float[Array, "b _ _ _"]]:
    """Return the encoder's finest rows, as long as they have `MOST_FEATURES` at most; the first.

    The finest see grain and blur, which the deeper ones forget.

    >>> rows = [jnp.zeros((1, 1, 1, width)) for width in (32, 64, 128, 256, 512)]
    >>> [row.shape[-1] for row in chosen_rows(rows)]
    [32, 64]
    """
    chosen, count = [], 0
    for row in features:
        count += row.shape[-1]
        if chosen and count > MOST_FEATURES:
            break
        chosen.append(row)
    return chosen


def sums(
    image: Float[Array, "b h w c"],
    features: Sequence[Float[Array, "b _ _ _"]],
    shown: Float[Array, "b h w"],
) -> Float32[Array, "b n"]:
    """Return area, sums of values, squares and edges of each channel, and sums of features.

    An edge is the size of the Laplacian, a pixel four times less its neighbours. A cell of features
    counts as often as pixels are shown in it.

    Args:
        image: normalised.
        features: the encoder's, finest row first.
        shown: share of each pixel that is the image's and not hidden, from 0 to 1.

    >>> image = jnp.array([[1.0, 3.0], [1.0, 3.0]])[None, :, :, None]
    >>> sums(image, [image[:, :1, :1] + 1], jnp.ones((1, 2, 2))).tolist()
    [[4.0, 8.0, 20.0, 8.0, 8.0]]
    """
    image = image.astype(jnp.float32)
    weight = shown.astype(jnp.float32)[..., None]
    maps = image, image * image, jnp.abs(laplacian(image))
    parts = [weight.sum(axis=(1, 2)), *((weight * each).sum(axis=(1, 2)) for each in maps)]
    for row in chosen_rows(features):
        cells = in_cells(weight, row.shape[1:3])
        parts.append((cells * row.astype(jnp.float32)).sum(axis=(1, 2)))
    return jnp.concatenate(parts, axis=-1)


def laplacian(image: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Return four times each pixel less its neighbours; the border's own are itself.

    >>> laplacian(jnp.array([0.0, 1.0, 0.0]).reshape(1, 1, 3, 1)).ravel().tolist()
    [-1.0, 2.0, -1.0]
    """
    above = jnp.concatenate([image[:, :1], image[:, :-1]], axis=1)
    below = jnp.concatenate([image[:, 1:], image[:, -1:]], axis=1)
    left = jnp.concatenate([image[:, :, :1], image[:, :, :-1]], axis=2)
    right = jnp.concatenate([image[:, :, 1:], image[:, :, -1:]], axis=2)
    return 4.0 * image - above - below - left - right


def in_cells(
    weight: Float32[Array, "b h w 1"], size_cells: tuple[int, int]
) -> Float32[Array, "b rows columns 1"]:
    """Add up weights over the pixels of each cell.

    >>> in_cells(jnp.ones((1, 4, 6, 1)), (2, 3)).ravel().tolist()
    [4.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    """
    b, h, w, _ = weight.shape
    rows, columns = size_cells
    return weight.reshape(b, rows, h // rows, columns, w // columns, 1).sum(axis=(2, 4))


def numbers(found: Float[Any, "*b n"], channels: int) -> Float[Any, "*b m"]:
    """Return the statistics of images whose sums these are: `LOOKS` of each channel, then features.

    Brightness is the mean, contrast the logarithm of the deviation, and sharpness that of the mean
    edge in deviations, which light and contrast leave as it is. In the unit of normalised images.

    Args:
        found: of `sums`, over all tiles of an image; of NumPy or JAX.
        channels: of the image.

    >>> import numpy as np
    >>> numbers(np.float64([[4, 8, 20, 8, 8]]), 1).round(4).tolist()
    [[2.0, 0.01, 0.6883, 2.0]]
    """
    xp = found.__array_namespace__()
    mean = found[..., 1:] / xp.maximum(found[..., :1], LEAST_AREA_PX)
    values, squares, edges = (mean[..., n * channels : (n + 1) * channels] for n in range(LOOKS))
    deviation = xp.sqrt(xp.maximum(squares - values * values, 0.0)) + FLOOR
    sharpness = xp.log(edges / deviation + FLOOR)
    features = mean[..., LOOKS * channels :]
    return xp.concatenate([values, xp.log(deviation), sharpness, features], axis=-1)
