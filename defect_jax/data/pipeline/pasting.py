"""Defects on other surfaces: what one training image shows, pasted onto a good one.

Tens of defective parts show each defect on one surface alone, and a network learns the surface by
heart. Copy-and-paste (Ghiasi et al. 2021, arXiv 2012.07177) shows it on others.
"""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import cv2
import grain
import numpy as np
from jaxtyping import Bool

from defect_jax.data.pipeline.blending import BESIDE_PX, blended
from defect_jax.data.pipeline.loading import LoadTraining
from defect_jax.data.pipeline.sampling import ImageRequest
from defect_jax.runtime.errors import UserError

Element = dict[str, Any]
Span = tuple[int, int]  # first px and length along an axis
MOVED = 0.15  # furthest from the same place in the image, as a share of the room that there is
# Of the image. The edges of what is larger reach over several surfaces of light and dark.
LARGEST_SHARE = 0.1


@dataclasses.dataclass(frozen=True)
class PasteDefects(grain.transforms.RandomMap):
    """Request -> one training element as `LoadTraining` gives it, or its defect on another surface.

    What was asked for is what comes: of the elements with a defect a share is pasted, so a batch
    holds as many of either kind as before, and the others stay the camera's own.

    Attributes:
        load: of the training split, which defects and surfaces both are from.
        share: of the elements with a defect. Where one cannot be pasted whole, it stays on its own
            surface.
    """

    load: LoadTraining
    share: float

    def random_map(self, request: ImageRequest, rng: np.random.Generator) -> Element:
        element = self.load.random_map(request, rng)
        if not element["mask"].any() or rng.random() >= self.share:
            return element
        row = int(rng.choice(self._surfaces))
        surface = self.load.random_map(ImageRequest(row, defective=False), rng)
        return pasted(element, surface, self.load.spec.framing.shows_whole_images, rng)

    @cached_property
    def _surfaces(self) -> np.ndarray:
        """Return rows that show a surface without a defect."""
        good_alone = self.load.spec.framing.needs_good_images
        rows = self.load.split.rows
        return np.array([i for i, row in enumerate(rows) if not (good_alone and row.label)], int)


def refuse_no_surface(labels: Sequence[int], share: float, needs_good: bool) -> None:
    """Refuse to paste where there is nothing to paste onto; tiles need no good images."""
    if share and needs_good and 0 not in labels:
        raise UserError(
            f"config.data.augment.paste is {share:g}: must be 0, since no training image is good"
        )


def pasted(
    source: Element, surface: Element, shows_whole_image: bool, rng: np.random.Generator
) -> Element:
    """Return the surface with the defect of the source, or the source where that cannot be.

    The defect is pasted as a whole, near where it was in its own image; at an edge of the image it
    stays at that edge. It cannot be pasted where it is large, does not fit or is cut by the frame,
    or where the surface has a defect itself.

    Args:
        source, surface: elements, see `LoadTraining`.
        shows_whole_image: False where the source is a window of an image.
    """
    shape = cv2.boundingRect((source["mask"] > 0).astype(np.uint8))
    cut = not shows_whole_image and _touches_frame(shape, source["mask"].shape)
    if cut or surface["label"]:
        return source
    place = _place(shape, _box(source["valid"]), _box(surface["valid"]), rng)
    if place is None:
        return source
    here, there = _windows(shape, place, source["mask"].shape)
    mask, valid = source["mask"][here], source["valid"][here] & surface["valid"][there]
    inside = mask > 0
    if inside.sum() > LARGEST_SHARE * surface["valid"].sum() or not valid[inside].all():
        return source
    patch = blended(source["image"][here], surface["image"][there], inside, valid)
    if patch is None:
        return source
    image, moved = surface["image"].copy(), np.zeros_like(source["mask"])
    image[there], moved[there] = patch, mask
    return surface | {"image": image, "mask": moved, "label": source["label"]}


Box = tuple[int, int, int, int]  # left, top, width, height, as OpenCV has them


def _box(valid: Bool[np.ndarray, "h w"]) -> Box:
    return cv2.boundingRect(valid.view(np.uint8))


def _touches_frame(box: Box, frame_px: tuple[int, int]) -> bool:
    left, top, width, height = box
    return min(left, top) == 0 or top + height == frame_px[0] or left + width == frame_px[1]


def _place(shape: Box, source: Box, surface: Box, rng: np.random.Generator) -> Span | None:
    """Return the top and left of a defect on the surface; None where it does not fit."""
    starts = [
        moved_start(*((box[axis], box[axis + 2]) for box in (shape, source, surface)), rng)
        for axis in (1, 0)
    ]
    return None if None in starts else tuple(starts)


def moved_start(defect: Span, source: Span, surface: Span, rng: np.random.Generator) -> int | None:
    """Return where a defect begins along one axis of the surface; None where it does not fit.

    It keeps its place relative to the image, but for `MOVED`. What touches an edge of its image
    touches that edge of the surface; what reaches from edge to edge needs one of its own length.

    >>> rng = np.random.default_rng(0)
    >>> moved_start((90, 10), (0, 100), (20, 50), rng), moved_start((0, 9), (0, 9), (0, 50), rng)
    (60, None)
    """
    (first, length), (low, whole), (start, room) = defect, source, surface
    room, left_over = room - length, whole - length
    if room < 0 or left_over == 0 < room:
        return None
    if first in (low, low + left_over):
        return start + (0 if first == low else room)
    moved = (first - low) / left_over + rng.uniform(-MOVED, MOVED)
    return start + int(np.clip(round(moved * room), 0, room))


def _windows(
    shape: Box, place: Span, frame_px: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the defect and what is beside it in the frame of the source, and of the surface."""
    here, there = [], []
    for axis, (first, length) in enumerate(((shape[1], shape[3]), (shape[0], shape[2]))):
        move = place[axis] - first
        low = max(0, -move, first - BESIDE_PX)
        high = min(frame_px[axis], frame_px[axis] - move, first + length + BESIDE_PX)
        here.append(slice(low, high))
        there.append(slice(low + move, high + move))
    return tuple(here), tuple(there)
