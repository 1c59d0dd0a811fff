"""Masks whose values are class ids: which names they have, and what can be wrong with a file."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8, UInt16

from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.images import Looked, look
from defect_jax.data.files.masks import refuse_transparency, unsure_pixels
from defect_jax.data.sources.records import GOOD
from defect_jax.runtime.errors import UserError

MOST_CLASSES = 255  # ids are stored in 8 bits, and 0 is the background


def checked_names(names: Sequence[Any]) -> tuple[str, ...]:
    """Return the names of the classes 1 … N as `config.data.classes` gives them.

    Raises:
        UserError: a name is empty, given twice or kept for good parts, or there are too many.
    """
    field = "config.data.classes"
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{field}: {names!r} is no list of names: give ('scratch', 'dent')")
    if len(names) > MOST_CLASSES:
        raise UserError(f"{field}: names {len(names)} classes: give at most {MOST_CLASSES}")
    for place, name in enumerate(names):
        if not name.strip():
            raise UserError(f"{field}: the name of class {place + 1} is empty: give one")
        if name == GOOD:
            raise UserError(f"{field}: {name!r} is kept for good parts: give another name")
        if name in names[:place]:
            raise UserError(f"{field}: {name!r} is named twice: give each class its own name")
    return tuple(names)


class ClassMask(NamedTuple):
    """A mask of class ids that was read: those, and which pixels nobody is sure of."""

    ids: UInt8[np.ndarray, "h w"]
    unsure: Bool[np.ndarray, "h w"]


def inspect_classes(
    data: bytes, max_megapixels: float, classes: int, ignored: int | None = None
) -> ClassMask:
    """Check and decode a mask whose values are class ids, 0 for background.

    Args:
        data: bytes of a PNG, BMP or TIFF file: grey values or the indices of a palette.
        max_megapixels: see `images.look`.
        classes: the highest id that counts.
        ignored: the value of pixels that nobody is sure of; None: there are none.

    Raises:
        BadImage: the file is damaged, a JPEG, in colour, neither 8 nor 16 bits deep, holds a
            value above `classes`, or shows another background than 0.
    """
    looked = look(data, max_megapixels)
    if looked.header.lossy:
        is_tiff = looked.header.format == "TIFF"
        kind = "a mask in a TIFF with lossy compression" if is_tiff else "a JPEG mask"
        raise BadImage(f"is {kind}, whose compression changes class ids: save it as PNG")
    refuse_transparency(looked)
    ids = _ids(looked)
    unsure = unsure_pixels(looked, ids, ignored)
    ids = np.where(unsure, 0, ids)
    highest = ids.max()
    if highest > classes:
        text = (
            f"holds the value {highest}, but config.data.classes names {classes}: "
            "add the class, or correct the mask"
        )
        raise BadImage(text)
    return ClassMask(ids.astype(np.uint8), unsure)


def _ids(looked: Looked) -> UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]:
    if looked.indices is not None:
        _refuse_other_background(looked)
        return looked.indices
    values = looked.colours
    if values.dtype not in (np.uint8, np.uint16):
        raise BadImage(f"holds {values.dtype} pixels: save it with 8 or 16 bits")
    if (values != values[..., :1]).any():
        raise BadImage("is a colour mask, but values are class ids: save it as grey or palette PNG")
    # All readers spread grey of 1, 2 and 4 bits over 0 … 255.
    return values[..., 0] // (255 // (2 ** min(looked.header.bits, 8) - 1))


def _refuse_other_background(looked: Looked) -> None:
    """Refuse a palette that says plainly that 0 is not the background.

    That is one where another value is black and 0 is not, as programs leave it that sort a palette
    by how often a colour occurs, or one where another value has the colour of 0.
    """
    palette = looked.palette
    for value in np.unique(looked.indices[looked.indices > 0]):
        black = palette[0].any() and not palette[value].any()
        if black or (palette[value] == palette[0]).all():
            looks = "black" if black else "in the colour of 0"
            raise BadImage(
                f"is a palette mask that shows its value {value} {looks}, though 0 is the "
                "background: save the class ids as grey PNG, or correct the palette"
            )


def main_class(ids: UInt8[np.ndarray, "h w"]) -> int:
    """Return the class with the most pixels, the lowest among equals, and 0 where there is none.

    >>> main_class(np.array([[0, 0, 0], [3, 2, 3]], np.uint8))
    3
    """
    return int(np.bincount(ids[ids > 0], minlength=1).argmax())
