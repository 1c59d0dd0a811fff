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

from defect_jax.data.annotations.entries import Area, BadAnnotation, Patch
from defect_jax.data.annotations.filling import (
    NOTHING,
    centres_inside,
    refuse_ring,
    span,
    touched_by,
)
from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.masks import MaskRules, inspect_mask


class Polygon(NamedTuple):
    """Rings, where one inside another is a hole.

    Attributes:
        rings: the corners of each, x before y.
        touched: whether all that it touches belongs to it.
        relative: whether coordinates are shares of the image's width and height.
    """

    rings: tuple[Float64[np.ndarray, "_ 2"], ...]
    touched: bool = False
    relative: bool = False

    def patch(self, height: int, width: int) -> Patch:
        """Fill it; see the head of this file."""
        rings = list(self.rings)
        if self.relative:  # a share is written with so many digits that 5 px may be 4.9999
            rings = [(ring * [[width, height]]).round(2) for ring in rings]
        for ring in rings:
            refuse_ring(ring)
        if self.touched:
            return touched_by(rings, height, width)
        filled = centres_inside(rings, height, width)
        if filled.inside.any():
            return filled
        return touched_by(rings, height, width)


class Union(NamedTuple):
    """Areas that are all part of one shape, as COCO writes polygons."""

    parts: tuple[Area, ...]

    def patch(self, height: int, width: int) -> Patch:
        """Return the pixels of any of them."""
        patches = [part.patch(height, width) for part in self.parts]
        patches = [patch for patch in patches if patch.inside.size]
        if not patches:
            return NOTHING
        top, left = min(patch.top for patch in patches), min(patch.left for patch in patches)
        bottom = max(patch.top + patch.inside.shape[0] for patch in patches)
        right = max(patch.left + patch.inside.shape[1] for patch in patches)
        canvas = np.zeros((bottom - top, right - left), bool)
        for patch in patches:
            paint(canvas, Patch(patch.top - top, patch.left - left, patch.inside))
        return Patch(top, left, canvas)


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
        top, bottom = span(self.y - reach, self.y + reach, height)
        left, right = span(self.x - reach, self.x + reach, width)
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
            BadAnnotation: it cannot be read, or leaves open what is defect.
        """
        most = max(height * width, 1) / 1e6 + 1e-6
        try:
            defect = inspect_mask(self.read(), most, self.rules).defect
        except BadImage as error:
            raise BadAnnotation(f"has a mask that {error}") from error
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

    >>> rectangle(0.0, 0.0, 4.0, 2.0, 90.0).round(6).tolist()
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
