"""CVAT for images 1.1: an XML file that lists each image with its shapes.

An image that it lists without a shape is a good part. Shapes without an area (polyline, points,
skeleton, cuboid) cannot be used; those with a higher z_order are drawn over the others.
"""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

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
    size_of,
)
from defect_jax.data.annotations.opened import Opened
from defect_jax.data.annotations.run_lengths import Runs, whole_numbers
from defect_jax.data.annotations.shapes import Ellipse, Polygon, rectangle
from defect_jax.data.annotations.splits import split_named
from defect_jax.runtime.errors import UserError

STARTS = (b"<annotations", b"<image")
NO_SHAPES = ("tag", "attribute")


def find(opened: Opened) -> list[str]:
    """Return the XML files that list images with their annotations, or tracks of a video."""
    return [name for name, data in opened.looked_at(".xml") if _is_cvat(data)]


def _is_cvat(data: bytes) -> bool:
    return STARTS[0] in data and (STARTS[1] in data or b"<track" in data)


def read(opened: Opened, names: Sequence[str]) -> list[Entry]:
    """Return an entry for each image of each file.

    Raises:
        UserError: a file is no XML within the limits, or holds tracks of a video.
    """
    entries = []
    for name in names:
        root = opened.read_xml(name)
        if root.find("track") is not None:
            what = "holds tracks of a video: export it as 'CVAT for images 1.1'"
            raise UserError(f"{opened.where(name)}: {what}")
        for image in root.iter("image"):
            split = split_named(image.get("subset", ""))
            bare = Entry(image.get("name", ""), name, split=split)
            entries.append(read_or_fault(bare, lambda i=image, b=bare: _read(b, i)))
    return entries


def _read(bare: Entry, image: Element) -> Entry:
    drawn = [element for element in image if element.tag not in NO_SHAPES]
    drawn.sort(key=lambda element: number(element.get("z_order", 0)))
    shapes = [_shape(element) for element in drawn]
    refuse_names(shapes, [class_name(tag.get("label")) for tag in image.iter("tag")])
    size = size_of(image.get("height"), image.get("width"))
    return bare._replace(shapes=tuple(shapes), size=size)


def _shape(element: Element) -> Shape:
    label, kind = class_name(element.get("label")), element.tag
    turned = number(element.get("rotation", 0))
    if kind == "polygon":
        points = [point.split(",") for point in element.attrib["points"].split(";")]
        return Shape(label, kind, Polygon((corners(points),)))
    if kind == "box":
        sides = _numbers(element, "xtl", "ytl", "xbr", "ybr")
        return Shape(label, "rectangle", Polygon((rectangle(*sides, turned),)))
    if kind == "ellipse":
        return Shape(label, kind, Ellipse(*_numbers(element, "cx", "cy", "rx", "ry"), turned))
    if kind == "mask":
        counts = whole_numbers(element.attrib["rle"].split(","))
        sides = [round(side) for side in _numbers(element, "height", "width", "top", "left")]
        return Shape(label, kind, Runs(counts, *sides))
    raise BadAnnotation(f"has a {kind}, which marks no area: outline the defect")


def _numbers(element: Element, *names: str) -> list[float]:
    return [number(element.attrib[name]) for name in names]


FORMAT = Format("CVAT for images", find, read, "listed without a shape")
