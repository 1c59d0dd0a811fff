"""One record of a prepared set as what the network learns from, or is judged on."""

import dataclasses
from typing import Any

import grain
import numpy as np

from defect_jax.data import tile_windows
from defect_jax.data.decoded import Decoded
from defect_jax.data.frame import Frame, shares
from defect_jax.data.images import decode_image
from defect_jax.data.letterbox import (
    Placement,
    jitter,
    letterbox_image,
    letterbox_mask,
    place,
    valid_area,
)
from defect_jax.data.prepare import Split
from defect_jax.data.stored import decode_classes
from defect_jax.metrics.regions import region_weights


@dataclasses.dataclass(frozen=True)
class Load(grain.transforms.RandomMap):
    """Row number -> one training element: image, mask, valid in the network's frame, label.

    The mask is uint8 class ids, 0 for background; the label is 1.0 for a part with any defect.

    The place in the frame is random, see `letterbox.jitter`.
    """

    split: Split
    frame: Frame
    shrink: float
    stretch: float

    def random_map(self, row: int, rng: np.random.Generator) -> dict[str, Any]:
        image, mask = decoded(self.split, row, self.frame)
        placement = _placement(self.split, row, self.frame)
        if self.shrink or self.stretch:
            placement = jitter(placement, self.frame.size_px, self.shrink, self.stretch, rng)
        return framed(image, mask, placement, self.frame)


@dataclasses.dataclass(frozen=True)
class LoadTile(grain.transforms.RandomMap):
    """A wish -> one training element as that of `Load`, of a part of the picture at its own size.

    Its label is that of the tile: whether the part has any defect.

    Attributes:
        overlap_px: of the grid that decides later.
        shrink, stretch: as those of `letterbox.jitter`: the part is that much larger.
    """

    split: Split
    frame: Frame
    overlap_px: int
    shrink: float
    stretch: float

    def random_map(self, wish: tile_windows.Wish, rng: np.random.Generator) -> dict[str, Any]:
        image, mask = decoded(self.split, wish.row, self.frame)
        sides = tile_windows.window_px(self.frame.size_px, self.shrink, self.stretch, rng)
        window = tile_windows.choose(mask, sides, self.overlap_px, wish.defective, rng)
        placement = tile_windows.placed(window, mask.shape, self.frame.size_px)
        parts = (tile_windows.part(plane, window) for plane in (image, mask))
        return framed(*parts, placement, self.frame)


@dataclasses.dataclass(frozen=True)
class LoadNative(grain.transforms.Map):
    """As `Load`, and the truth at native size on a canvas that holds every picture of the split."""

    split: Split
    frame: Frame
    canvas_px: tuple[int, int]

    def map(self, row: int) -> dict[str, Any]:
        image, mask = decoded(self.split, row, self.frame)
        placement = _placement(self.split, row, self.frame)
        element = framed(shares(image), mask, placement, self.frame)
        weights, regions = region_weights(mask > 0)
        return element | {
            "row": np.int32(row),
            "placement": np.asarray(placement, np.float32),
            "native_size": np.asarray(mask.shape, np.int32),
            "native_mask": self._on_canvas(mask),
            "region_weight": self._on_canvas(weights),
            "regions": np.int32(regions),
        }

    def _on_canvas(self, plane: np.ndarray) -> np.ndarray:
        canvas = np.zeros(self.canvas_px, plane.dtype)
        canvas[: plane.shape[0], : plane.shape[1]] = plane
        return canvas


def decoded(split: Split, row: int, frame: Frame) -> Decoded:
    """Image [h w c] and class ids [h w] of a row, in the network's channels, depth and classes.

    Where the split keeps them they are not to be written into, and of one frame.
    """

    def decode() -> Decoded:
        record = split.source[int(row)]
        image = frame.common(decode_image(record["image"]), record["id"].decode())
        if not split.rows[int(row)].label:  # an empty one takes half as long as a picture
            return image, np.zeros(image.shape[:2], np.uint8)
        return image, frame.known(decode_classes(record["mask"]))

    return decode() if split.kept is None else split.kept.get(int(row), decode)


def framed(
    image: np.ndarray, mask: np.ndarray, placement: Placement, frame: Frame
) -> dict[str, Any]:
    """Image, mask, valid and label of a picture, or a part of one, at a place in the frame."""
    seen = letterbox_mask(mask, placement, frame.size_px)
    return {
        "image": letterbox_image(image, placement, frame.size_px),
        "mask": seen,
        "valid": valid_area(placement, frame.size_px),
        "label": np.float32(seen.any()),
    }


def _placement(split: Split, row: int, frame: Frame) -> Placement:
    picture = split.rows[int(row)]
    limits = frame.min_scale, frame.max_scale, frame.max_stretch
    return place((picture.height, picture.width), frame.size_px, *limits, picture.id)
