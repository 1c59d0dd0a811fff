"""labelme: a JSON file beside each picture.

Shapes are filled as labelme fills them. A picture without a JSON file was not annotated, since
labelme writes one for whatever it saves; one whose file holds no shape is a good part.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from defect_jax.data.annotations.entries import (
    BadAnnotation,
    Entry,
    Format,
    Shape,
    class_name,
    corners,
    read_or_fault,
    refuse_names,
    size_of,
)
from defect_jax.data.annotations.opened import Opened
from defect_jax.data.annotations.shapes import (
    Ellipse,
    Polygon,
    Stored,
    from_base64,
    rectangle,
)
from defect_jax.data.files.masks import MaskRules
from defect_jax.data.files.reading import in_threads
from defect_jax.runtime.errors import UserError

KEYS = (b'"shapes"', b'"imagePath"')
RULES = MaskRules(trusted=True)


def find(opened: Opened) -> list[str]:
    """Return all JSON files where one of the first is labelme's."""
    looked_at = opened.looked_at(".json")
    return opened.texts(".json") if any(_is_labelme(data) for _, data in looked_at) else []


def _is_labelme(data: bytes) -> bool:
    return all(key in data for key in KEYS)


def read(opened: Opened, names: Sequence[str]) -> list[Entry]:
    """Return an entry for each file; other JSON files beside them are passed over."""
    entries = in_threads(partial(_read_file, opened), names, "Reading annotations")
    return [entry for entry in entries if entry is not None]


def _read_file(opened: Opened, name: str) -> Entry | None:
    bare = Entry("", name)
    try:
        fields = opened.read_json(name)
    except UserError as error:
        return bare._replace(fault=str(error).removeprefix(f"{opened.where(name)}: "))
    if not isinstance(fields, Mapping) or not {"shapes", "imagePath"} <= fields.keys():
        return None
    bare = bare._replace(written=str(fields["imagePath"]), embedded=bool(fields.get("imageData")))
    return read_or_fault(bare, partial(_read, bare, fields))


def _read(bare: Entry, fields: Mapping[str, Any]) -> Entry:
    shapes = [_shape(shape) for shape in fields["shapes"]]
    flags = fields.get("flags") or {}
    refuse_names(shapes, [class_name(flag) for flag, is_set in flags.items() if is_set is True])
    size = size_of(fields.get("imageHeight"), fields.get("imageWidth"))
    return bare._replace(shapes=tuple(shapes), size=size)


def _shape(shape: Mapping[str, Any]) -> Shape:
    kind = shape.get("shape_type") or "polygon"
    label, points = class_name(shape.get("label")), corners(shape["points"])
    if kind == "polygon" or kind == "oriented_rectangle":
        return Shape(label, kind, Polygon((points,), touched=True))
    if kind not in ("rectangle", "circle", "mask") or len(points) != 2:
        raise BadAnnotation(
            f"has a {kind} of {len(points)} points, which marks no area: outline it"
        )
    (x0, y0), (x1, y1) = points.tolist()
    if kind == "rectangle":
        ring = rectangle(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        return Shape(label, kind, Polygon((ring,), touched=True))
    if kind == "circle":  # its centre, and a point on it
        radius = float(np.hypot(x1 - x0, y1 - y0))
        return Shape(label, kind, Ellipse(x0, y0, radius, radius))
    picture = partial(from_base64, shape.get("mask"))
    return Shape(label, kind, Stored(picture, round(y0), round(x0), RULES))


def picture(opened: Opened, name: str) -> bytes:
    """Return the picture that a file holds itself.

    Raises:
        BadAnnotation: it is no base64.
    """
    return from_base64(opened.read_json(name)["imageData"])


FORMAT = Format("labelme", find, read, "whose file has no shape", picture)
