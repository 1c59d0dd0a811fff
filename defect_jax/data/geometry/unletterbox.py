"""Network-sized maps back onto the images they came from, many sizes in one shape."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

Px = Any  # a number of pixels: an int, or a symbolic dimension of `jax.export`


def unletterbox(
    probability: Float[Array, "b h w"],
    placement: Float[Array, "b 4"],
    native_size: Int[Array, "b 2"],
    canvas_px: tuple[Px, Px],
) -> Float[Array, "b height width"]:
    """Resample each image's part of the frame bilinearly onto a canvas of its native pixels.

    Images differ in size, and a compiled program has one shape: the canvas holds the largest, and
    what is outside an image repeats its border (the caller masks it). Bilinear resampling is
    separable, so it is two matrix products an image, which every accelerator does well.

    Args:
        probability: maps in the network's frame.
        placement: top, left, height, width of the image in that frame, in px
            (`letterbox.Placement`).
        native_size: height and width of the image, in px.
        canvas_px: height and width of the result.

    >>> frame = jnp.array([[[0.0, 1.0]]])
    >>> whole = jnp.array([[0.0, 0.0, 1.0, 2.0]])
    >>> unletterbox(frame, whole, jnp.array([[1, 4]]), (1, 4)).round(2).tolist()
    [[[0.0, 0.25, 0.75, 1.0]]]
    """
    height, width = probability.shape[1:]
    rows = _weights(placement[:, 0], placement[:, 2], native_size[:, 0], canvas_px[0], height)
    columns = _weights(placement[:, 1], placement[:, 3], native_size[:, 1], canvas_px[1], width)
    # TPUs and GPUs would round the factors to 8-11 bits by default, and scores with them.
    exact = lax.Precision.HIGHEST
    tall = jnp.einsum("bnh,bhw->bnw", rows, probability, precision=exact)
    return jnp.einsum("bnw,bmw->bnm", tall, columns, precision=exact).clip(0.0, 1.0)


def _weights(
    start: Float[Array, " b"],
    length: Float[Array, " b"],
    native: Int[Array, " b"],
    canvas: Px,
    frame: int,
) -> Float[Array, "b canvas frame"]:
    """Return row n: shares of the frame's pixels in native pixel n (half-pixel centres, edges
    held)."""
    scale = length / jnp.maximum(native, 1)
    centre = (jnp.arange(canvas) + 0.5)[None, :] * scale[:, None] - 0.5
    centre = jnp.clip(centre, 0.0, length[:, None] - 1.0) + start[:, None]
    distance = jnp.abs(centre[:, :, None] - jnp.arange(frame, dtype=jnp.float32)[None, None, :])
    return jnp.maximum(1.0 - distance, 0.0)


def unletterbox_classes(
    mask: Float[Array, "b h w classes"],
    placement: Float[Array, "b 4"],
    native_size: Int[Array, "b 2"],
    canvas_px: tuple[Px, Px],
) -> Float[Array, "b classes height width"]:
    """Resample each class of defect, as `unletterbox`; beyond an image its border is repeated."""
    place = placement, native_size, canvas_px
    return jnp.stack([unletterbox(mask[..., k], *place) for k in range(mask.shape[-1])], axis=1)


def inside(native_size: Int[Array, "b 2"], canvas_px: tuple[Px, Px]) -> Bool[Array, "b h w"]:
    """Return which pixels of the canvas each image covers."""
    rows = jnp.arange(canvas_px[0])[None, :] < native_size[:, :1]
    columns = jnp.arange(canvas_px[1])[None, :] < native_size[:, 1:]
    return rows[:, :, None] & columns[:, None, :]
