"""How an image fills the network's frames: scaled into one, or through tiles at its own size.

`config.data` decides which of the two objects there is (`input_spec.framing_of`). Evaluation and
prediction look up their own counterpart by its type; all others ask the object alone.
"""

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, UInt8

from defect_jax.data.geometry import crops, letterbox_jax, tiles_jax
from defect_jax.data.geometry.letterbox import (
    Placement,
    jitter,
    letterbox_image,
    place,
    shown,
)
from defect_jax.data.geometry.tiles import Grid
from defect_jax.data.geometry.unletterbox import unletterbox_classes
from defect_jax.models.probabilities import Ensemble, Frames, OfFrames, Variables

ClassMaps = Float[Array, "b classes h w"]  # probability of each class of defect, at native size
# Maps, labels, sums of `models.appearance`; None without a label, and where nobody asked for sums.
Native = tuple[ClassMaps, Float[Array, " b"] | None, Float[Array, "members b n"] | None]


class Change(NamedTuple):
    """Largest random changes of size, as `letterbox.jitter` takes them."""

    shrink: float
    stretch: float


class TrainingPart(NamedTuple):
    """What of an image a training element shows, and where in the frame."""

    image: np.ndarray
    mask: UInt8[np.ndarray, "h w"]
    ignored: UInt8[np.ndarray, "h w"] | None  # what is not judged, see `geometry.region`
    placement: Placement


@dataclasses.dataclass(frozen=True)
class Letterbox:
    """Images scaled into one frame each, mirrored in its padding.

    Attributes:
        size_px: height and width of the frame.
        min_scale, max_scale, max_stretch: as `letterbox.place` takes them.
        most_waiting: images read ahead and results written behind in a prediction; None: a batch.
        needs_good_images: whether good training elements come from good images alone.
        shows_whole_images: whether a training element shows all of its image.
    """

    size_px: tuple[int, int]
    min_scale: float
    max_scale: float
    max_stretch: float
    most_waiting: ClassVar[int | None] = None
    needs_good_images: ClassVar[bool] = True
    shows_whole_images: ClassVar[bool] = True

    def place(self, native_px: tuple[int, int], name: str) -> Placement:
        """Return the place of an image in the frame.

        Raises:
            UserError: it would have to be shrunk too much; `name` is named.
        """
        limits = self.min_scale, self.max_scale, self.max_stretch
        return place(native_px, self.size_px, *limits, name)

    def training_part(
        self,
        image: np.ndarray,
        mask: UInt8[np.ndarray, "h w"],
        ignored: UInt8[np.ndarray, "h w"] | None,
        defective: bool | None,
        change: Change,
        rng: np.random.Generator,
        name: str,
    ) -> TrainingPart:
        """Return the whole image, at random in the frame, see `letterbox.jitter`.

        Raises:
            UserError: as `place`.
        """
        del defective
        placement = self.place(mask.shape, name)
        if any(change):
            placement = jitter(placement, self.size_px, *change, rng)
        return TrainingPart(image, mask, ignored, placement)

    def native_probabilities(
        self,
        of_frames: OfFrames,
        variables: Variables | Ensemble,
        image: Frames,
        classes: int,
        visible: Float[Array, "h w"] | None = None,
        looks: bool = False,
    ) -> Native:
        """Return maps at the images' own size, labels, and what was asked for of their look,
        inside a program for any size.

        Args:
            visible, looks: as `tiles_jax.through_tiles` takes them.
        """
        del classes
        native_px = image.shape[1:3]
        placement = letterbox_jax.place(native_px, self.size_px, self.max_scale, self.max_stretch)
        frame, asked = letterbox_jax.letterbox_image(image, placement, self.size_px), ()
        if looks:
            shown = letterbox_jax.shown(visible, placement, self.size_px)
            asked = (jnp.broadcast_to(shown[None], frame.shape[:3]),)
        predicted = of_frames(variables, frame, *asked)
        places = letterbox_jax.on_canvas(placement, image.shape[0], native_px)
        maps = unletterbox_classes(predicted.mask, *places, native_px)
        return maps, predicted.label, predicted.sums

    def frames(
        self, image: Float32[np.ndarray, "h w c"], hidden: Bool[np.ndarray, "h w"] | None, name: str
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the frame of an image in shares, and what of the frame is shown.

        Raises:
            UserError: as `place`.
        """
        placement = self.place(image.shape[:2], name)
        yield (
            letterbox_image(image, placement, self.size_px),
            shown(hidden, placement, self.size_px),
        )

    def card(self) -> dict[str, Any]:
        """Return the size rule for an exported file's card."""
        return {
            "size_px": list(self.size_px),
            "max_scale": self.max_scale,
            "max_stretch": self.max_stretch,
            "smallest_scale_seen": self.min_scale,
        }

    def in_words(self) -> str:
        """Return what is done with an image."""
        return "scaled, padded"

    def example_sizes(self) -> list[tuple[int, int, int]]:
        """Return numbers, heights and widths of images to try an exported file on."""
        height, width = self.size_px
        sizes = _example_sizes(self.size_px)
        return [s for s in sizes if min(height / s[1], width / s[2]) >= self.min_scale]


@dataclasses.dataclass(frozen=True)
class Tiling:
    """Images of any size at their own resolution, through overlapping tiles.

    Attributes:
        size_px: height and width of a tile.
        overlap_px: that two neighbours share.
        most_waiting, needs_good_images, shows_whole_images: as those of `Letterbox`; images may be
            large, and beside a defect there are good tiles.
    """

    size_px: tuple[int, int]
    overlap_px: int
    most_waiting: ClassVar[int | None] = 1
    needs_good_images: ClassVar[bool] = False
    shows_whole_images: ClassVar[bool] = False

    def grid(self, native_px: tuple[int, int]) -> Grid:
        """Return the tiles of an image of this height and width."""
        return Grid.of(native_px, self.size_px, self.overlap_px)

    def place(self, native_px: tuple[int, int], name: str) -> None:
        """Accept every size: nothing is scaled."""

    def training_part(
        self,
        image: np.ndarray,
        mask: UInt8[np.ndarray, "h w"],
        ignored: UInt8[np.ndarray, "h w"] | None,
        defective: bool | None,
        change: Change,
        rng: np.random.Generator,
        name: str,
    ) -> TrainingPart:
        """Return a window of the image, larger or stretched at random by `change`.

        Args:
            defective: whether it shall show a defect; None: as it comes.
        """
        del name
        sides = crops.window_px(self.size_px, *change, rng)
        window = crops.choose(mask, sides, self.overlap_px, defective, rng)
        placement = crops.place_window(window, mask.shape, self.size_px)
        planes = image, mask, ignored
        parts = (None if plane is None else crops.part(plane, window) for plane in planes)
        return TrainingPart(*parts, placement)

    def native_probabilities(
        self,
        of_frames: OfFrames,
        variables: Variables | Ensemble,
        image: Frames,
        classes: int,
        visible: Float[Array, "h w"] | None = None,
        looks: bool = False,
    ) -> Native:
        """Return maps at the images' own size, the highest label of a tile, and what was asked for
        of their look; arguments as those of `Letterbox`."""
        tiling = self.size_px, self.overlap_px, classes, visible, looks
        predicted = tiles_jax.through_tiles(partial(of_frames, variables), image, *tiling)
        return jnp.moveaxis(predicted.mask, -1, 1), predicted.label, predicted.sums

    def frames(
        self, image: Float32[np.ndarray, "h w c"], hidden: Bool[np.ndarray, "h w"] | None, name: str
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the tiles of an image in shares, each with what of it is shown."""
        del name
        grid = self.grid(image.shape[:2])
        yield from zip(grid.cut(image), grid.shown(hidden), strict=True)

    def card(self) -> dict[str, Any]:
        """Return the size rule for an exported file's card."""
        return {
            "tile_px": list(self.size_px),
            "overlap_px": self.overlap_px,
            "scale": 1.0,
            "beyond_the_picture": "half on each side, mirrored",
            "score": "highest of the tiles",
        }

    def in_words(self) -> str:
        """Return what is done with an image."""
        return "cut into tiles"

    def example_sizes(self) -> list[tuple[int, int, int]]:
        """Return numbers, heights and widths; the last has several tiles along both sides."""
        height, width = self.size_px
        return [*_example_sizes(self.size_px), (1, height * 2 + 3, width * 2 - 1)]


Framing = Letterbox | Tiling


def _example_sizes(size_px: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Return sizes of the frame's own, larger, smaller, one pixel wide."""
    height, width = size_px
    return [
        (2, height, width),
        (1, height * 2 + 3, width // 2 + 1),
        (1, 7, width + 5),
        (1, height, 1),
    ]
