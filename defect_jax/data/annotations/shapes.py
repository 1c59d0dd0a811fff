"""What people draw around defects, as pixels.

A polygon is filled as the format's own program fills it, and there are two ways. Where coordinates
run along the edges of pixels (COCO, CVAT, Label Studio, VIA) a pixel belongs to it if its centre
does; so an outline of a mask gives that mask back. Where they name pixels (labelme, YOLO) all that
it touches belong to it, as Pillow and OpenCV draw it. A shape too thin to hold a centre is drawn as
a line in either: a hair crack does not vanish.
"""

import base64
import binascii
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from PIL import Image, ImageDraw

from defect_jax.data.annotations.entries import BadAnnotation, Patch
from defect_jax.data.files.masks import MaskRules, inspect_mask

MOST_CORNERS = 100_000  # of one ring
MOST_CROSSINGS = 20_000_000  # of its edges with rows of pixels
FARTHEST_PX = 1e7  # a corner may lie outside its image, but not anywhere
NOTHING = Patch(0, 0, np.zeros((0, 0), bool))


class Polygon(NamedTuple):
    """Rings, where one inside another is a hole.

    Attributes:
        rings: the corners of each, x before y.
        touched: whether all that it touches belongs to it.
        relative: whether coordinates are shares of the image's width and height.
    """

    rings: tuple[Float64[np.ndarray, "n 2"], ...]
    touched: bool = False
    relative: bool = False

    def patch(self, height: int, width: int) -> Patch:
        """Fill it; see the head of this file."""
        rings = list(self.rings)
        if self.relative:  # a share is written with so many digits that 5 px may be 4.9999
            rings = [(ring * [[width, height]]).round(2) for ring in rings]
        for ring in rings:
            _refuse_ring(ring)
        if self.touched:
            return _touched(rings, height, width)
        filled = _centres_inside(rings, height, width)
        if filled.inside.any():
            return filled
        return _touched(rings, height, width)


class Union(NamedTuple):
    """Polygons that are all part of one shape, as COCO writes them."""

    parts: tuple[Polygon, ...]

    def patch(self, height: int, width: int) -> Patch:
        """Fill each of them."""
        canvas = np.zeros((height, width), bool)
        for part in self.parts:
            paint(canvas, part.patch(height, width))
        return Patch(0, 0, canvas)


class Ellipse(NamedTuple):
    """An ellipse around a centre, turned clockwise as one sees it."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    turned_deg: float = 0.0

    def patch(self, height: int, width: int) -> Patch:
        """Return the pixels whose centres are inside."""
        if not 0 < min(self.radius_x, self.radius_y) <= max(self.radius_x, self.radius_y) < 1e6:
            raise BadAnnotation("has an ellipse without an inside: draw it again")
        reach = max(self.radius_x, self.radius_y)
        top, bottom = _span(self.y - reach, self.y + reach, height)
        left, right = _span(self.x - reach, self.x + reach, width)
        y = np.arange(top, bottom)[:, None] + 0.5 - self.y
        x = np.arange(left, right)[None] + 0.5 - self.x
        cosine, sine = np.cos(np.radians(self.turned_deg)), np.sin(np.radians(self.turned_deg))
        along = (x * cosine + y * sine) / self.radius_x
        across = (y * cosine - x * sine) / self.radius_y
        return Patch(top, left, along**2 + across**2 <= 1)


class Stored(NamedTuple):
    """A picture of the mask, in a file of its own or inside an annotation.

    Attributes:
        read: returns its bytes.
        top, left: where its first pixel lies; None where it has the size of the image.
        rules: what of it is defect.
    """

    read: Callable[[], bytes]
    top: int | None = None
    left: int | None = None
    rules: MaskRules = MaskRules()

    def patch(self, height: int, width: int) -> Patch:
        """Decode it within the size of its image.

        Raises:
            BadImage: it cannot be read, or leaves open what is defect.
        """
        most = max(height * width, 1) / 1e6 + 1e-6
        defect = inspect_mask(self.read(), most, self.rules).defect
        if self.top is None and defect.shape != (height, width):
            raise BadAnnotation(
                f"has a mask of {defect.shape[1]}x{defect.shape[0]} px, and has {width}x{height} "
                "px: save both in one size"
            )
        return clipped(self.top or 0, self.left or 0, defect, height, width)


def from_base64(text: str) -> bytes:
    """Return the bytes that a text stands for.

    Raises:
        BadAnnotation: it stands for none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise BadAnnotation("holds a picture that is no base64: save it again") from None


def rectangle(
    x0: float, y0: float, x1: float, y1: float, turned_deg: float = 0.0, about_corner: bool = False
) -> Float64[np.ndarray, "4 2"]:
    """Return the corners of a rectangle, turned clockwise about its middle or its first corner.

    >>> rectangle(0, 0, 4, 2, 90).tolist()
    [[3.0, -1.0], [3.0, 3.0], [1.0, 3.0], [1.0, -1.0]]
    """
    ring = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)
    about = ring[:1] if about_corner else ring.mean(axis=0, keepdims=True)
    cosine, sine = np.cos(np.radians(turned_deg)), np.sin(np.radians(turned_deg))
    return (ring - about) @ np.array([[cosine, sine], [-sine, cosine]]) + about


def paint(canvas: np.ndarray, patch: Patch, value: int | bool = True) -> int:
    """Set a patch on a canvas and return its number of pixels."""
    rows, columns = patch.inside.shape
    area = canvas[patch.top : patch.top + rows, patch.left : patch.left + columns]
    area[patch.inside] = value
    return int(np.count_nonzero(patch.inside))


def clipped(top: int, left: int, inside: Bool[np.ndarray, "p q"], height: int, width: int) -> Patch:
    """Return a patch without what lies outside the image."""
    rows, columns = inside.shape
    first_row, first_column = max(0, -top), max(0, -left)
    last_row, last_column = min(rows, height - top), min(columns, width - left)
    if last_row <= first_row or last_column <= first_column:
        return NOTHING
    part = inside[first_row:last_row, first_column:last_column]
    return Patch(top + first_row, left + first_column, part)


def _refuse_ring(ring: Float64[np.ndarray, "n 2"]) -> None:
    if len(ring) < 3:
        raise BadAnnotation("has a polygon of less than three corners: draw it again")
    if len(ring) > MOST_CORNERS:
        raise BadAnnotation(f"has a polygon of {len(ring):,} corners: save it as a mask")
    if np.abs(ring).max() > FARTHEST_PX:
        raise BadAnnotation("has a polygon that leaves its image: draw it again")


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    """Return the first pixel, and the one behind the last, that may lie between two places."""
    first = min(max(int(np.floor(low)), 0), size)
    return first, min(max(int(np.ceil(high)), first), size)


def _centres_inside(rings: list[Float64[np.ndarray, "n 2"]], height: int, width: int) -> Patch:
    """Return the pixels whose centres are inside an odd number of rings.

    Each edge crosses the rows between its ends; what lies to the right of a crossing changes sides.
    """
    corners = np.concatenate(rings)
    top, bottom = _span(corners[:, 1].min(), corners[:, 1].max(), height)
    left, right = _span(corners[:, 0].min(), corners[:, 0].max(), width)
    changes = np.zeros((bottom - top, right - left + 1), np.uint8)
    for ring in rings:
        rows, x = _crossings(ring, top, bottom)
        columns = np.clip(np.ceil(x - 0.5), left, right).astype(np.int64) - left
        np.add.at(changes, (rows - top, columns), 1)
    sides = np.cumsum(changes[:, :-1], axis=1, dtype=np.uint8)  # only whether it is odd counts
    return Patch(top, left, sides % 2 == 1)


def _crossings(
    ring: Float64[np.ndarray, "n 2"], top: int, bottom: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of each crossing of an edge with the middle of a row, and its x."""
    ends = np.roll(ring, -1, axis=0)
    upward = ring[:, 1] > ends[:, 1]
    high = np.where(upward[:, None], ends, ring)  # the end with the smaller y
    low = np.where(upward[:, None], ring, ends)
    first = np.clip(np.ceil(high[:, 1] - 0.5), top, bottom).astype(np.int64)
    last = np.clip(np.ceil(low[:, 1] - 0.5), top, bottom).astype(np.int64)
    counts = last - first
    if counts.sum() > MOST_CROSSINGS:
        raise BadAnnotation("has a polygon that runs to and fro too often: save it as a mask")
    edges = np.repeat(np.arange(len(ring)), counts)
    rows = np.arange(len(edges)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edges]
    slope = (rows + 0.5 - high[edges, 1]) / (low[edges, 1] - high[edges, 1])
    return rows, high[edges, 0] + slope * (low[edges, 0] - high[edges, 0])


def _touched(rings: list[Float64[np.ndarray, "n 2"]], height: int, width: int) -> Patch:
    """Return the pixels that Pillow draws: those that hold a corner, and all between them."""
    corners = np.concatenate(rings)
    top, bottom = _span(corners[:, 1].min() - 1, corners[:, 1].max() + 2, height)
    left, right = _span(corners[:, 0].min() - 1, corners[:, 0].max() + 2, width)
    if bottom == top or right == left:
        return NOTHING
    drawn = Image.new("1", (right - left, bottom - top))
    for ring in rings:
        ImageDraw.Draw(drawn).polygon((ring - [left, top]).ravel().tolist(), fill=1, outline=1)
    return Patch(top, left, np.asarray(drawn))
