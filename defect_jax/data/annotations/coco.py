"""COCO json: polygons and run lengths, of one file or of one a split.

An image that the file lists without an annotation is a good part. A bounding box alone is no mask,
and an image that has one is left out.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

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
from defect_jax.data.annotations.run_lengths import Runs, unpacked, whole_numbers
from defect_jax.data.annotations.shapes import Polygon, Union
from defect_jax.data.annotations.splits import split_of_file
from defect_jax.runtime.errors import UserError

KEYS = (b'"images"', b'"annotations"', b'"file_name"')


def find(opened: Opened) -> list[str]:
    """Return the JSON files that list images and annotations."""
    if not any(_is_coco(data) for _, data in opened.looked_at(".json")):
        return []
    return [name for name in opened.texts(".json") if _is_coco(opened.read_bytes(name))]


def _is_coco(data: bytes) -> bool:
    return all(key in data for key in KEYS)


def read(opened: Opened, names: Sequence[str]) -> list[Entry]:
    """Return an entry for each image of each file.

    Raises:
        UserError: a file cannot be read, or its lists are not those of COCO.
    """
    entries = []
    for name in names:
        fields = opened.read_json(name)
        try:
            entries += _entries(fields, name)
        except (AttributeError, LookupError, TypeError) as error:
            what = f"is no COCO json ({type(error).__name__}: {error}): export it again"
            raise UserError(f"{opened.where(name)}: {what}") from None
    return entries


def _entries(fields: Mapping[str, Any], name: str) -> list[Entry]:
    classes = {one["id"]: class_name(one.get("name")) for one in fields.get("categories") or ()}
    of_image = defaultdict(list)
    for annotation in fields["annotations"]:
        of_image[annotation["image_id"]].append(annotation)
    entries = []
    for image in fields["images"]:
        bare = Entry(str(image["file_name"]), name, split=split_of_file(name))
        drawn = of_image.pop(image["id"], [])
        entries.append(
            read_or_fault(bare, lambda i=image, d=drawn, b=bare: _read(b, i, d, classes))
        )
    if of_image:
        count = sum(map(len, of_image.values()))
        what = f"has {count} annotations of images that it does not list: export it again"
        entries.append(Entry("", name, fault=what))
    return entries


def _read(
    bare: Entry, image: Mapping[str, Any], drawn: list[Mapping[str, Any]], classes: dict
) -> Entry:
    size = size_of(image.get("height"), image.get("width"))
    shapes = []
    for annotation in drawn:
        id = annotation.get("category_id")
        shapes.append(_shape(annotation, classes.get(id, f"class {id}"), size))
    refuse_names(shapes)
    masks = [shape.area for shape in shapes if isinstance(shape.area, Runs)]
    if size is None and masks:
        size = masks[0].height, masks[0].width
    return bare._replace(shapes=tuple(shapes), size=size)


def _shape(annotation: Mapping[str, Any], label: str, size: tuple[int, int] | None) -> Shape:
    outline = annotation.get("segmentation")
    if not outline:
        raise BadAnnotation(
            "has a bounding box without a segmentation, which marks no pixels: outline the defect, "
            "or export masks"
        )
    if not isinstance(outline, Mapping):
        parts = tuple(Polygon((corners(_pairs(ring)),)) for ring in outline)
        return Shape(label, "polygon", Union(parts))
    counts = outline["counts"]
    runs = unpacked(counts) if isinstance(counts, str) else whole_numbers(counts)
    written = size_of(*outline["size"])
    if written is None or size not in (None, written):
        raise BadAnnotation("has a mask of another size than its image: export it again")
    return Shape(label, "mask", Runs(runs, *written, by_columns=True))


def _pairs(ring: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return x and y of a list in which they follow each other; one too many is a ValueError."""
    return list(zip(ring[::2], ring[1::2], strict=True))


FORMAT = Format("COCO json", find, read, "listed without an annotation")
