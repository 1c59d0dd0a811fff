"""The size rule of `geometry.letterbox` as arithmetic inside the network's program, for export.

An exported network takes images of any size, and must see of them what it was trained on: scaled
by the same rule, centred in the frame, mirrored in the padding. Each axis is one matrix product,
whose weights follow from the image's size, which the program need not know in advance.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, UInt

from defect_jax.data.geometry.unletterbox import Px


def place(
    native_px: tuple[Px, Px], size_px: tuple[int, int], max_scale: float, max_stretch: float
) -> Float[Array, "4"]:
    """Return top, left, height and width of an image in the frame, as `letterbox.place` has them.

    In the same order of float32 operations, so that both round alike.

    >>> place((300, 600), (128, 128), 1.0, 1.5).tolist()
    [16.0, 0.0, 96.0, 128.0]
    """
    size = jnp.array(size_px, jnp.float32)
    native = jnp.stack([jnp.asarray(side, jnp.float32) for side in native_px])
    fitting = jnp.minimum(size / native, jnp.float32(max_scale))
    scale = jnp.minimum(fitting, fitting.min() * jnp.float32(max_stretch))
    extent = jnp.clip(jnp.round(native * scale), 1.0, size)
    return jnp.concatenate([jnp.floor((size - extent) / 2), extent])


def letterbox_image(
    image: UInt[Array, "b h w c"] | Float[Array, "b h w c"],
    placement: Float[Array, "4"],
    size_px: tuple[int, int],
) -> Float[Array, "b height width c"]:
    """Scale images of one size into the frame, in the unit of their pixels.

    >>> image = jnp.array([1, 2, 3], jnp.uint8).reshape(1, 1, 3, 1)
    >>> letterbox_image(image, jnp.array([0.0, 2.0, 1.0, 3.0]), (1, 8)).ravel().tolist()
    [2.0, 1.0, 1.0, 2.0, 3.0, 3.0, 2.0, 1.0]
    """
    rows = _weights(image.shape[1], placement[0], placement[2], size_px[0])
    columns = _weights(image.shape[2], placement[1], placement[3], size_px[1])
    # TPUs and GPUs would round the factors to 8-11 bits by default.
    exact, pixels = lax.Precision.HIGHEST, image.astype(jnp.float32)
    low = jnp.einsum("nh,bhwc->bnwc", rows, pixels, precision=exact)
    return jnp.einsum("mw,bnwc->bnmc", columns, low, precision=exact)


def shown(
    visible: Float[Array, "h w"] | None, placement: Float[Array, "4"], size_px: tuple[int, int]
) -> Float[Array, "height width"]:
    """Return the share of each pixel of the frame that is the image's and not hidden.

    Args:
        visible: 0 where images are hidden, 1 elsewhere; None: nothing is hidden.

    >>> visible = jnp.array([[0.0, 1.0, 1.0, 1.0]])
    >>> shown(visible, jnp.array([0.0, 1.0, 1.0, 2.0]), (1, 3)).tolist()
    [[0.0, 0.5, 1.0]]
    """
    position = [jnp.arange(side) - placement[axis] for axis, side in enumerate(size_px)]
    down, across = ((p >= 0) & (p < placement[2 + axis]) for axis, p in enumerate(position))
    inside = down[:, None] & across[None]
    if visible is None:
        return inside.astype(jnp.float32)
    framed = letterbox_image(visible[None, ..., None], placement, size_px)[0, ..., 0]
    return jnp.where(inside, framed, 0.0)


def _weights(
    native: Px, start: Float[Array, ""], extent: Float[Array, ""], frame: int
) -> Float[Array, "frame native"]:
    """Return row n: shares of the image's pixels in pixel n of the frame.

    Area averages when shrinking, bilinear with half-pixel centres when enlarging.
    """
    inside = _mirrored(jnp.arange(frame) - start, extent)[:, None]
    pixel = jnp.arange(native, dtype=jnp.float32)[None, :]
    side = jnp.asarray(native, jnp.float32)
    ratio = side / extent
    overlap = jnp.minimum(pixel + 1.0, (inside + 1.0) * ratio) - jnp.maximum(pixel, inside * ratio)
    centre = jnp.clip((inside + 0.5) * ratio - 0.5, 0.0, side - 1.0)
    near = jnp.maximum(1.0 - jnp.abs(centre - pixel), 0.0)
    return jnp.where(ratio > 1.0, jnp.maximum(overlap, 0.0) / ratio, near)


def _mirrored(position: Float[Array, " frame"], extent: Float[Array, ""]) -> Float[Array, " frame"]:
    """Return positions in the padding as those inside that they mirror: -1 is 0, -2 is 1."""
    period = 2.0 * extent
    turned = position - jnp.floor(position / period) * period
    return jnp.minimum(turned, period - 1.0 - turned)


def on_canvas(
    placement: Float[Array, "4"], count: Px, native_px: tuple[Px, Px]
) -> tuple[Float[Array, "b 4"], Int[Array, "b 2"]]:
    """Return the placement and native size of `count` images of one size, for `unletterbox`."""
    native = jnp.stack([jnp.asarray(side, jnp.int32) for side in native_px])
    return jnp.broadcast_to(placement, (count, 4)), jnp.broadcast_to(native, (count, 2))
