"""The tiles of `tiles` and the maps of `stitching` inside the network's program, for export.

An exported network takes images of any size, so the program cannot know how many tiles there will
be. It goes over them in a loop over rows in which there is one over columns: a large image takes
no more code than a small one, and besides its own arrays no more memory than a row of tiles.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import core, lax
from jaxtyping import Array, Bool, Float32, Int, Shaped

from defect_jax.data.geometry.tiles import later_share
from defect_jax.data.geometry.unletterbox import Px
from defect_jax.models.probabilities import Probabilities


class TileAxis(NamedTuple):
    """`tiles.TileAxis` of an image whose size may not be known.

    >>> side = TileAxis(image_px=300, tile_px=128, overlap_px=32)
    >>> side.stride_px, side.tiles, side.before_px, side.image_positions(0)[:3].tolist()
    (96, 3, 10, [9, 8, 7])
    """

    image_px: Px
    tile_px: int
    overlap_px: int

    @property
    def stride_px(self) -> int:
        """Return the distance from one tile to the next."""
        return self.tile_px - self.overlap_px

    @property
    def tiles(self) -> Px:
        """Return how many it takes."""
        return core.max_dim(1, -(-(self.image_px - self.overlap_px) // self.stride_px))

    @property
    def covered_px(self) -> Px:
        """Return the length from the start of the first tile to the end of the last."""
        return self.tiles * self.stride_px + self.overlap_px

    @property
    def before_px(self) -> Px:
        """Return the padding in front of the image."""
        return (self.covered_px - self.image_px) // 2

    def image_positions(self, tile: int | Int[Array, ""]) -> Int[Array, " tile_px"]:
        """Return which pixel of the image each pixel of a tile shows."""
        first = tile * self.stride_px - self.before_px
        turned = (first + jnp.arange(self.tile_px)) % (2 * self.image_px)
        return jnp.minimum(turned, 2 * self.image_px - 1 - turned)

    def is_inside(self, tile: int | Int[Array, ""]) -> Bool[Array, " tile_px"]:
        """Return which pixels of a tile are the image's, and no mirror image beside it."""
        position = tile * self.stride_px - self.before_px + jnp.arange(self.tile_px)
        return (position >= 0) & (position < self.image_px)


def through_tiles(
    predict: Callable[..., Probabilities],
    image: Shaped[Array, "b h w c"],
    size_px: tuple[int, int],
    overlap_px: int,
    classes: int,
    visible: Float32[Array, "h w"] | None = None,
    looks: bool = False,
) -> Probabilities:
    """Return a network's output for images of one size that it takes tile by tile.

    Args:
        predict: its output for tiles, one of each image, and for what of them is shown if `looks`.
        size_px: of a tile.
        classes: of defect.
        visible: 0 where the images are hidden, 1 elsewhere; None: nothing is hidden.
        looks: whether the network is asked what they look like, and given what is shown.

    Returns:
        The map at the images' own size, the highest label probability of a tile, and the sums of
        what all tiles look like.
    """
    count, height, width, _ = image.shape
    rows, columns = (
        TileAxis(height, size_px[0], overlap_px),
        TileAxis(width, size_px[1], overlap_px),
    )

    def of_row(row: Int[Array, ""]) -> Probabilities:
        band = jnp.take(image, rows.image_positions(row), axis=1, mode="clip")

        def of_tile(column: Int[Array, ""]) -> Probabilities:
            across = columns.image_positions(column)
            tile = jnp.take(band, across, axis=2, mode="clip")
            if not looks:
                return predict(tile)
            plane = (rows.is_inside(row)[:, None] & columns.is_inside(column)[None]) * 1.0
            if visible is not None:
                strip = jnp.take(visible, rows.image_positions(row), axis=0, mode="clip")
                plane *= jnp.take(strip, across, axis=1, mode="clip")
            return predict(tile, jnp.broadcast_to(plane[None], tile.shape[:3]))

        return stitched(of_tile, columns, (count, rows.tile_px, overlap_px, classes), axis=2)

    return stitched(of_row, rows, (count, overlap_px, width, classes), axis=1)


def stitched(
    piece: Callable[[Int[Array, ""]], Probabilities],
    side: TileAxis,
    shared_shape: tuple[Px, ...],
    axis: int,
) -> Probabilities:
    """Return pieces in a row as one, without what is beside the image.

    Args:
        piece: the output for the piece of each number.
        side: along which they are.
        shared_shape: of the part of a map that two neighbours share.
        axis: of the maps along that side.
    """
    share = jnp.expand_dims(
        later_share(side.overlap_px), [each for each in range(4) if each != axis]
    )
    lengths = side.overlap_px, side.stride_px - side.overlap_px, side.overlap_px

    def step(earlier: Float32[Array, "..."], number: Int[Array, ""]):
        mask, label, sums = piece(number)
        head, middle, tail = lax.split(mask, lengths, axis)
        head = jnp.where(number > 0, earlier + share * (head - earlier), head)
        return tail, (jnp.concatenate([head, middle], axis), label, sums)

    last, (strips, label, sums) = lax.scan(step, jnp.zeros(shared_shape), jnp.arange(side.tiles))
    strips = lax.collapse(jnp.moveaxis(strips, 0, axis), axis, axis + 2)
    mask = inside(jnp.concatenate([strips, last], axis), side, axis)
    label = None if label is None else label.max(axis=0)
    return Probabilities(mask, label, None if sums is None else sums.sum(axis=0))


def inside(
    covered: Float32[Array, "b h w classes"], side: TileAxis, axis: int
) -> Float32[Array, "..."]:
    """Return the part of the tiles that is the image's.

    By less than no padding: a slice would have to be known to be inside.
    """
    behind_px = side.covered_px - side.before_px - side.image_px
    widths = [(0, 0, 0)] * covered.ndim
    widths[axis] = (-side.before_px, -behind_px, 0)
    return lax.pad(covered, jnp.float32(0.0), widths)
