"""Large images as overlapping tiles on a regular grid, each as large as the network's frame.

An image that fits one frame has one tile, which is the frame that `letterbox` makes of it at its
own size. A larger one has as many as it takes, their overlap fixed; what the grid reaches beyond
the image is shared out between both ends and mirrors the image, as the frame's padding does.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped


@dataclasses.dataclass(frozen=True)
class TileAxis:
    """The tiles along one side of an image.

    Attributes:
        image_px: length of the side.
        tile_px: of a tile.
        overlap_px: that two neighbours share, at most half a tile.

    >>> side = TileAxis(image_px=300, tile_px=128, overlap_px=32)
    >>> side.stride_px, side.tiles, side.before_px, side.image_positions(0)[:3].tolist()
    (96, 3, 10, [9, 8, 7])
    """

    image_px: int
    tile_px: int
    overlap_px: int

    @property
    def stride_px(self) -> int:
        """Return the distance from one tile to the next."""
        return self.tile_px - self.overlap_px

    @property
    def tiles(self) -> int:
        """Return how many it takes."""
        return max(1, -(-(self.image_px - self.overlap_px) // self.stride_px))

    @property
    def before_px(self) -> int:
        """Return padding in front of the image; the rest is behind it."""
        covered_px = (self.tiles - 1) * self.stride_px + self.tile_px
        return (covered_px - self.image_px) // 2

    def image_positions(self, tile: int) -> Int[np.ndarray, " tile_px"]:
        """Return which pixel of the image each pixel of a tile shows."""
        first = tile * self.stride_px - self.before_px
        return mirrored(first + np.arange(self.tile_px), self.image_px)

    def is_inside(self, tile: int) -> Bool[np.ndarray, " tile_px"]:
        """Return which pixels of a tile are the image's, and no mirror image beside it."""
        position = tile * self.stride_px - self.before_px + np.arange(self.tile_px)
        return (position >= 0) & (position < self.image_px)


def mirrored(position: Int[np.ndarray, " n"], length: int) -> Int[np.ndarray, " n"]:
    """Return positions beyond the ends as those inside that they mirror: -1 is 0, -2 is 1.

    >>> mirrored(np.arange(-3, 5), 2).tolist()
    [1, 1, 0, 0, 1, 1, 0, 0]
    """
    turned = position % (2 * length)
    return np.minimum(turned, 2 * length - 1 - turned)


def later_share(overlap_px: int) -> Float32[np.ndarray, " overlap_px"]:
    """Return how far the later of two tiles counts in their overlap; the earlier one has the rest.

    The quarters at the tiles' edges count for nothing: the network sees least round them.

    >>> later_share(8).tolist()
    [0.0, 0.0, 0.125, 0.375, 0.625, 0.875, 1.0, 1.0]
    """
    centre = np.arange(overlap_px) + 0.5
    share = (4 * centre - overlap_px) / (2 * max(overlap_px, 1))
    return np.clip(share, 0.0, 1.0).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Grid:
    """The tiles of one image, row after row."""

    rows: TileAxis
    columns: TileAxis

    @classmethod
    def of(cls, native_px: tuple[int, int], size_px: tuple[int, int], overlap_px: int) -> "Grid":
        """Return the grid of an image of this height and width; `size_px` is a tile's."""
        sides = zip(native_px, size_px, strict=True)
        return cls(*(TileAxis(native, tile, overlap_px) for native, tile in sides))

    def cut(self, image: Shaped[np.ndarray, "h w c"]) -> Iterator[Shaped[np.ndarray, "th tw c"]]:
        """Yield the tiles of an image; no more than a row of them is held."""
        columns = [self.columns.image_positions(tile) for tile in range(self.columns.tiles)]
        for row in range(self.rows.tiles):
            band = image[self.rows.image_positions(row)]
            for positions in columns:
                yield band[:, positions]

    def shown(
        self, hidden: Bool[np.ndarray, "h w"] | None = None
    ) -> Iterator[Float32[np.ndarray, "th tw"]]:
        """Yield what of each tile is the image's and not hidden: 1 there, else 0."""
        for row in range(self.rows.tiles):
            down = self.rows.is_inside(row)
            for column in range(self.columns.tiles):
                plane = down[:, None] & self.columns.is_inside(column)[None]
                if hidden is not None:
                    positions = np.ix_(
                        self.rows.image_positions(row), self.columns.image_positions(column)
                    )
                    plane = plane & ~hidden[positions]
                yield plane.astype(np.float32)
