"""Writes annotations of other programs as images and masks: the story of --mode=import."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from defect_jax.data.annotations.entries import BadAnnotation, Format, Shape
from defect_jax.data.annotations.listing import UNKNOWN, Item, Left, Listing, list_all
from defect_jax.data.annotations.mask_files import encode_classes_in_colour
from defect_jax.data.annotations.opened import FIELD, Opened, open_input
from defect_jax.data.annotations.recognise import only_format
from defect_jax.data.annotations.shapes import paint
from defect_jax.data.annotations.summary import summary
from defect_jax.data.files.bounded import MEGAPIXELS
from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.images import Header, check_image
from defect_jax.data.files.output_names import without_suffix
from defect_jax.data.files.reading import in_threads
from defect_jax.data.files.record_encoding import encode_mask
from defect_jax.data.sources.folder_layout import IMAGES, MASKS
from defect_jax.data.sources.records import listed
from defect_jax.runtime import partial_folder
from defect_jax.runtime.console import answer, say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.memory import shortage
from defect_jax.runtime.paths import as_path, is_remote

OUTPUT = "--output"


def import_parts(input: str, output: str, max_megapixels: float = MEGAPIXELS) -> None:
    """Write images and masks of annotations into a new folder, whole or not at all.

    Args:
        input: a folder, a .tar or .zip, or a file of annotations beside its images.
        max_megapixels: larger images are left out.

    Raises:
        UserError: a path or a file of annotations cannot be used, or no defective image is left.
    """
    final = _new_folder(output)
    opened = open_input(input, max_megapixels)
    format, names = only_format(opened, input)
    say(f"reading {format.name}: {listed(sorted(names), 3)}")
    listing = list_all(opened, format, names)
    _refuse_without_defects(input, listing)
    try:
        with partial_folder.beside(final) as folder:
            listing = _written(opened, format, listing, folder)
            _refuse_without_defects(input, listing)
            partial_folder.take_place(folder, _new_folder(output))
    except OSError as error:
        raise UserError(f"{OUTPUT}: {final} cannot be written: {error.strerror}") from error
    for line in summary(listing, output, format.good):
        answer(line)


def _new_folder(output: str) -> Path:
    """Return the folder to write.

    Raises:
        UserError: it is there already, or is in a bucket.
    """
    folder = as_path(output)
    if is_remote(folder):
        raise UserError(f"{OUTPUT}: {output} must be a folder of this machine")
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{OUTPUT}: {folder} is there already: name a new folder")
    return folder


def _refuse_without_defects(input: str, listing: Listing) -> None:
    """Refuse a set on which nothing can be learnt, with the commonest reason.

    Raises:
        UserError: there is no image with a shape.
    """
    items, left = listing.items, listing.left
    if any(item.entry.shapes for item in items):
        return
    if not left:
        raise UserError(f"{FIELD}: {input}: none of {len(items)} images has a shape: outline some")
    reasons = Counter(one.why for one in left)
    why = max(reasons, key=lambda why: (why != UNKNOWN, reasons[why]))
    name = next(one.name for one in left if one.why == why)
    raise UserError(
        f"{FIELD}: {input}: no defective image can be used; {reasons[why]} of "
        f"{len(items) + len(left)}, as {name}: {why}"
    )


def _written(opened: Opened, format: Format, listing: Listing, folder: Path) -> Listing:
    """Write all images and masks, and return what was written and what was not."""
    write = partial(_write, opened, format, listing.classes, folder)
    faults = list(in_threads(write, listing.items, "Importing images"))
    both = list(zip(listing.items, faults, strict=True))
    left = [Left(item.picture or item.path, fault) for item, fault in both if fault]
    items = [item for item, fault in both if not fault]
    return listing._replace(items=items, left=listing.left + left)


def _write(opened: Opened, format: Format, classes: Sequence[str], folder: Path, item: Item) -> str:
    """Write an image as it is, and its mask; return what is wrong with either."""
    try:
        data = _image(opened, format, item)
        header = check_image(data, opened.max_megapixels)
        mask = _mask(item, header, classes)
    except (BadAnnotation, BadImage, UserError) as error:
        return str(error)
    except (OSError, MemoryError) as error:
        return str(shortage(error) or getattr(error, "strerror", None) or error)
    _save(folder / IMAGES / item.path, data)
    if mask is not None:
        _save(folder / MASKS / f"{without_suffix(item.path)}.png", mask)
    return ""


def _image(opened: Opened, format: Format, item: Item) -> bytes:
    if item.picture:
        return opened.raw.read(item.picture)
    return format.picture(opened, item.entry.where)


def _save(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _mask(item: Item, header: Header, names: Sequence[str]) -> bytes | None:
    """Return the mask of an image as PNG; None for a good part.

    Raises:
        BadAnnotation: the annotation does not fit the image.
    """
    shapes, size = item.entry.shapes, item.entry.size
    if not shapes:
        return None
    if size not in (None, (header.height, header.width)):
        raise BadAnnotation(
            f"was annotated with {size[1]}x{size[0]} px, and has {header.width}x{header.height} "
            "px: save it in that size, or annotate it again"
        )
    if header.turned:
        raise BadAnnotation(
            "is turned by its EXIF orientation, which is not followed here, and may have been when "
            "it was annotated: save its pixels turned and without it"
        )
    ids = {name: id for id, name in enumerate(names, 1)}
    classes = _drawn(shapes, header.height, header.width, ids)
    return encode_classes_in_colour(classes) if len(ids) > 1 else encode_mask(classes > 0)


def _drawn(
    shapes: Sequence[Shape], height: int, width: int, ids: dict[str, int]
) -> UInt8[np.ndarray, "h w"]:
    """Return the class of each pixel; of shapes that overlap, the last one counts."""
    canvas = np.zeros((height, width), np.uint8)
    for shape in shapes:
        if not paint(canvas, shape.area.patch(height, width), ids.get(shape.label, 1)):
            raise BadAnnotation(f"has a {shape.kind} that marks no pixel of it: draw it again")
    return canvas
