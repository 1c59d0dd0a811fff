"""Label Studio's JSON: brush, polygons, rectangles and ellipses, in percent of the image.

A task that was submitted without a region is a good part. One without an annotation, or with one
that was skipped, is not annotated; of several annotations one has to be the ground truth.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from defect_jax.data.annotations.brush import Brush
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
from defect_jax.data.annotations.finding import path_parts
from defect_jax.data.annotations.opened import Opened
from defect_jax.data.annotations.shapes import Ellipse, Polygon, rectangle
from defect_jax.data.files.bounded import is_picture
from defect_jax.runtime.errors import UserError

KEYS = (b'"data"', b'"result"')
LISTS = ("annotations", "completions")  # the second until version 0.8
AREAS = ("brush", "polygon", "rectangle", "ellipse")
GEOMETRY = {"x", "points", "rle"}  # what a choice has that is about one region
NOT_ANNOTATED = "has no annotation that was submitted: annotate it, or export without it"


def find(opened: Opened) -> list[str]:
    """Return the JSON files that list tasks."""
    return [name for name, data in opened.looked_at(".json") if _is_list_of_tasks(data)]


def _is_list_of_tasks(data: bytes) -> bool:
    has_lists = any(f'"{word}"'.encode() in data for word in LISTS)
    return has_lists and all(key in data for key in KEYS)


def read(opened: Opened, names: Sequence[str]) -> list[Entry]:
    """Return an entry for each task of each file.

    Raises:
        UserError: a file cannot be read, or is no list of tasks.
    """
    entries = []
    for name in names:
        tasks = opened.read_json(name)
        for task in tasks if isinstance(tasks, list) else [tasks]:
            if not isinstance(task, Mapping) or not isinstance(task.get("data"), Mapping):
                what = "is no list of tasks with 'data': export it from Label Studio as JSON"
                raise UserError(f"{opened.where(name)}: {what}")
            bare = Entry(_image_of(task), name)
            entries.append(read_or_fault(bare, lambda t=task, b=bare: _read(b, t)))
    return entries


def _image_of(task: Mapping[str, Any]) -> str:
    """Return the path of the image: the value that names a picture, or what was uploaded."""
    values = [value for value in task["data"].values() if isinstance(value, str)]
    for value in (*values, str(task.get("file_upload") or "")):
        if is_picture((path_parts(value) or [""])[-1]):
            return value
    return values[0] if values else ""


def _read(bare: Entry, task: Mapping[str, Any]) -> Entry:
    results = _annotation(task)["result"]
    called = {one.get("id"): _values(one).get("labels") for one in results if "id" in one}
    shapes, whole, sizes = [], [], set()
    for result in results:
        value, kind = _values(result), str(result.get("type", ""))
        if kind == "choices" and not value.keys() & GEOMETRY:
            whole += map(class_name, value.get("choices") or ())
        elif kind in AREAS or (kind.endswith("labels") and kind != "labels"):
            size = size_of(result.get("original_height"), result.get("original_width"))
            sizes.add(size)
            area = kind.removesuffix("labels")
            labels = value.get(f"{area}labels") or called.get(result.get("id")) or [None]
            drawn = _area(value, area, size, result.get("image_rotation"))
            shapes.append(Shape(class_name(labels[0]), area, drawn))
    if len(sizes) > 1:
        raise BadAnnotation("has shapes on images of several sizes: annotate it again")
    refuse_names(shapes, whole)
    return bare._replace(shapes=tuple(shapes), size=next(iter(sizes), None))


def _values(result: Mapping[str, Any]) -> Mapping[str, Any]:
    return result.get("value") or {}


def _annotation(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the one annotation that counts.

    Raises:
        BadAnnotation: there is none, or nobody said which.
    """
    every = [one for word in LISTS for one in task.get(word) or ()]
    every = [one for one in every if not one.get("was_cancelled") and not one.get("skipped")]
    if not every:
        raise BadAnnotation(NOT_ANNOTATED)
    true = [one for one in every if one.get("ground_truth")]
    chosen = every if len(every) == 1 else true
    if len(chosen) != 1:
        raise BadAnnotation(
            f"has {len(every)} annotations: mark one as ground truth, or remove the others"
        )
    return chosen[0]


def _area(
    value: Mapping[str, Any], area: str, size: tuple[int, int] | None, rotation: Any
) -> Brush | Polygon | Ellipse:
    if area not in AREAS:
        raise BadAnnotation(f"has a {area} region, which is not read: draw a polygon, or a brush")
    if size is None:
        raise BadAnnotation("has a shape without original_width and original_height: export again")
    if rotation not in (None, 0):
        raise BadAnnotation("was turned in Label Studio: save the image as it is, and annotate it")
    height, width = size
    px = np.array([width, height]) / 100
    if area == "brush":
        return Brush(value["rle"], height, width)
    if area == "polygon":
        return Polygon((corners(value["points"]) * px,))
    x, y = (np.array([number(value["x"]), number(value["y"])]) * px).tolist()
    turned = number(value.get("rotation") or 0)
    if area == "ellipse":
        radii = np.array([number(value["radiusX"]), number(value["radiusY"])]) * px
        return Ellipse(x, y, *radii.tolist(), turned)
    across, down = (np.array([number(value["width"]), number(value["height"])]) * px).tolist()
    return Polygon((rectangle(x, y, x + across, y + down, turned, about_corner=True),))


FORMAT = Format("Label Studio json", find, read, "submitted without a region")
