"""The defective regions of a mask: where each one is, how large, of which class and how sure."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

Box = tuple[int, int, int, int]


class Region(NamedTuple):
    """A region of marked pixels that touch by a side or a corner, as `metrics.regions` has it."""

    box_px: Box  # left, top, width, height: columns left <= x < left + width of the image given
    area_px: int
    class_name: str  # of most of its pixels; of as many the first of the network's classes
    score: float  # highest probability of its pixels


def find_regions(
    mask: UInt8[np.ndarray, "h w"],
    probability: Float32[np.ndarray, " marked"],
    classes: Sequence[str],
) -> list[Region]:
    """Return the regions, the surest first, of equal ones the largest, then from the top.

    Args:
        mask: class of each pixel, from 1; 0 where none is marked.
        probability: of any defect, of the marked pixels row by row.
        classes: their names.

    >>> mask = np.array([[1, 0, 0, 0], [0, 2, 0, 0], [0, 2, 0, 1]], np.uint8)
    >>> found = find_regions(mask, np.array([0.5, 0.75, 0.5, 0.875], np.float32), ["pit", "crack"])
    >>> found[0]
    Region(box_px=(3, 2, 1, 1), area_px=1, class_name='pit', score=0.875)
    >>> found[1]
    Region(box_px=(0, 0, 2, 3), area_px=3, class_name='crack', score=0.75)
    """
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return []
    inner = mask[top : top + height, left : left + width]
    marked = inner > 0
    count, labelled, boxes, _ = cv2.connectedComponentsWithStats(
        marked.astype(np.uint8), connectivity=8
    )
    region = labelled[marked] - 1  # of each marked pixel; 0 is the background
    found = zip(
        boxes[1:].tolist(),
        _likeliest(region, inner[marked], count - 1, len(classes)),
        _highest(region, probability, count - 1),
        strict=True,
    )
    regions = [
        Region((left + box[0], top + box[1], box[2], box[3]), box[4], classes[place], score)
        for box, place, score in found
    ]
    return sorted(regions, key=_surest_first)


def _surest_first(region: Region) -> tuple:
    left, top, *_ = region.box_px
    return -region.score, -region.area_px, top, left


def _likeliest(region: np.ndarray, ids: np.ndarray, regions: int, classes: int) -> list[int]:
    """Return the place of the class that most pixels of each region have."""
    pixels = np.bincount(region * classes + (ids - 1), minlength=regions * classes)
    return pixels.reshape(regions, classes).argmax(axis=1).tolist()


def _highest(region: np.ndarray, probability: np.ndarray, regions: int) -> list[float]:
    highest = np.zeros(regions, np.float32)
    np.maximum.at(highest, region, probability)
    return highest.tolist()
