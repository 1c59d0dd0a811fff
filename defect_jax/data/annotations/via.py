"""VGG Image Annotator, versions 1 and 2: JSON, a saved project, or CSV.

An image that it lists without a region is a good part. Polylines and points have no area.
"""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from defect_jax.data.annotations.entries import (
    BadAnnotation,
    Entry,
    Format,
    Shape,
    class_name,
    corners,
    number,
    read_or_fault,
    refuse_names,
)
from defect_jax.data.annotations.opened import Opened
from defect_jax.data.annotations.shapes import Ellipse, Polygon, rectangle
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.json_files import NotJson, parse

METADATA = "_via_img_metadata"
IN_JSON = (b'"_via_img_metadata"', b'"shape_attributes"')
IN_CSV = (b"region_shape_attributes", b"region_attributes")
# The attribute of a region that is taken for its class, where there are several.
CLASS_NAMES = ("class", "classes", "label", "labels", "type", "defect", "name", "category")


def find(opened: Opened) -> list[str]:
    """Return the JSON and CSV files of regions."""
    in_json = [n for n, d in opened.looked_at(".json") if any(key in d for key in IN_JSON)]
    in_csv = [n for n, d in opened.looked_at(".csv") if all(key in d[:1000] for key in IN_CSV)]
    return in_json or in_csv


def read(opened: Opened, names: Sequence[str]) -> list[Entry]:
    """Return an entry for each image of each file.

    Raises:
        UserError: a file cannot be read, or its fields are not those of VIA.
    """
    entries = []
    for name in names:
        try:
            images = (
                _of_csv(opened, name) if name.lower().endswith(".csv") else _of_json(opened, name)
            )
            for written, regions in images:
                bare = Entry(written, name)
                entries.append(read_or_fault(bare, partial(_read, bare, regions)))
        except (AttributeError, LookupError, TypeError, NotJson, csv.Error) as error:
            what = f"is no export of VIA ({type(error).__name__}: {error}): export it again"
            raise UserError(f"{opened.where(name)}: {what}") from None
    return entries


def _of_json(opened: Opened, name: str) -> Iterator[tuple[str, list[Any]]]:
    fields = opened.read_json(name)
    for image in fields.get(METADATA, fields).values():
        regions = image.get("regions") or []  # a list, or by their numbers in version 1
        yield (
            str(image["filename"]),
            list(regions.values() if isinstance(regions, Mapping) else regions),
        )


def _of_csv(opened: Opened, name: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield the regions of each image; a line is a region, or an image without one."""
    text = opened.read_text(name).removeprefix("#")
    images: dict[str, list[Any]] = defaultdict(list)
    for line in csv.DictReader(io.StringIO(text, newline=""), strict=True):
        regions = images[line["filename"]]
        shape = parse(line["region_shape_attributes"])
        if shape:
            attributes = parse(line["region_attributes"])
            regions.append({"shape_attributes": shape, "region_attributes": attributes})
    yield from images.items()


def _read(bare: Entry, regions: list[Any]) -> Entry:
    shapes = [_shape(region) for region in regions]
    refuse_names(shapes)
    return bare._replace(shapes=tuple(shapes))


def _shape(region: Mapping[str, Any]) -> Shape:
    drawn = region["shape_attributes"]
    label, kind = _label(region.get("region_attributes") or {}), str(drawn.get("name"))
    if kind == "polygon":
        points = list(zip(drawn["all_points_x"], drawn["all_points_y"], strict=True))
        return Shape(label, kind, Polygon((corners(points),)))
    if kind == "rect":
        x, y, width, height = (number(drawn[key]) for key in ("x", "y", "width", "height"))
        return Shape(label, "rectangle", Polygon((rectangle(x, y, x + width, y + height),)))
    if kind == "circle":
        x, y, radius = (number(drawn[key]) for key in ("cx", "cy", "r"))
        return Shape(label, "ellipse", Ellipse(x, y, radius, radius))
    if kind == "ellipse":
        sides = (number(drawn[key]) for key in ("cx", "cy", "rx", "ry"))
        return Shape(label, kind, Ellipse(*sides, _turned(drawn)))
    raise BadAnnotation(f"has a {kind}, which marks no area: outline the defect")


def _turned(drawn: Mapping[str, Any]) -> float:
    """Return the angle of an ellipse, which VIA notes in radians, or not at all."""
    return math.degrees(number(drawn.get("theta") or 0))


def _label(attributes: Mapping[str, Any]) -> str:
    """Return the class that the attributes of a region name.

    >>> _label({"note": "see below", "Type": "scratch"}), _label({"kind": {"dent": True}})
    ('scratch', 'dent')
    """
    named = {str(name).lower(): value for name, value in attributes.items() if value}
    best = next((name for name in CLASS_NAMES if name in named), next(iter(named), None))
    value = named.get(best)
    if isinstance(value, Mapping):  # a checkbox: those that are set
        value = " and ".join(sorted(str(name) for name, is_set in value.items() if is_set))
    return class_name(value or None)


FORMAT = Format("VGG Image Annotator", find, read, "listed without a region")
