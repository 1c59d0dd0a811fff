"""Writes annotations of other programs as images and masks: the story of --mode=import."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from defect_jax.data.annotations.entries import BadAnnotation, Format, Shape
from defect_jax.data.annotations.listing import Item, Left, Listing, list_all
from defect_jax.data.annotations.mask_files import encode_classes_in_colour
from defect_jax.data.annotations.opened import FIELD, Opened, open_input
from defect_jax.data.annotations.recognise import only_format
from defect_jax.data.annotations.shapes import paint
from defect_jax.data.files.bounded import MEGAPIXELS
from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.images import Header, check_image
from defect_jax.data.files.output_names import without_suffix
from defect_jax.data.files.reading import in_threads
from defect_jax.data.files.record_encoding import encode_mask
from defect_jax.data.sources.folder_layout import IMAGES, MASKS
from defect_jax.data.sources.records import listed
from defect_jax.runtime import partial_folder
from defect_jax.runtime.console import answer, own_command
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.memory import shortage
from defect_jax.runtime.paths import as_path, is_remote

OUTPUT = "--output"


class Written(NamedTuple):
    """An image that was written, or why it was not."""

    item: Item
    fault: str = ""


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
    listing = list_all(opened, format, names)
    _refuse_without_defects(input, [item for item in listing.items], listing.left)
    try:
        with partial_folder.beside(final) as folder:
            written = list(_write_all(opened, format, listing, folder))
            left = listing.left + [
                Left(done.item.picture or done.item.path, done.fault)
                for done in written
                if done.fault
            ]
            items = [done.item for done in written if not done.fault]
            _refuse_without_defects(input, items, left)
            partial_folder.take_place(folder, final)
    except OSError as error:
        raise UserError(f"{OUTPUT}: {final} cannot be written: {error.strerror}") from error
    shown = (
        [f"{format.name}: {listed(list(names), 3)}"]
        if opened.only or len(names) < 4
        else [format.name]
    )
    for line in (*shown, *_summary(listing._replace(items=items, left=left), output)):
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


def _refuse_without_defects(input: str, items: Sequence[Item], left: Sequence[Left]) -> None:
    """Refuse a set on which nothing can be learnt, with the commonest reason.

    Raises:
        UserError: there is no image with a shape.
    """
    if any(item.entry.shapes for item in items):
        return
    if not left:
        raise UserError(
            f"{FIELD}: {input} has {len(items)} images, and none has a shape: outline some"
        )
    (why, count), *_ = Counter(one.why for one in left).most_common()
    name = next(one.name for one in left if one.why == why)
    raise UserError(
        f"{FIELD}: {input}: no defective image can be used; {count} of {len(items) + len(left)}, "
        f"as {name}: {why}"
    )


def _write_all(opened: Opened, format: Format, listing: Listing, folder: Path) -> Iterator[Written]:
    ids = {name: number for number, name in enumerate(listing.classes, 1)}
    write = partial(_write, opened, format, ids, folder)
    return in_threads(write, listing.items, "Importing images")


def _write(
    opened: Opened, format: Format, ids: dict[str, int], folder: Path, item: Item
) -> Written:
    """Write an image as it is, and its mask; what is wrong with either is returned."""
    try:
        data = (
            opened.raw.read(item.picture)
            if item.picture
            else format.picture(opened, item.entry.where)
        )
        header = check_image(data, opened.max_megapixels)
        mask = _mask(item, header, ids)
    except (BadAnnotation, BadImage, OSError, MemoryError, UserError) as error:
        return Written(item, str(shortage(error) or getattr(error, "strerror", None) or error))
    _save(folder / IMAGES / item.path, data)
    if mask is not None:
        _save(folder / MASKS / f"{without_suffix(item.path)}.png", mask)
    return Written(item)


def _save(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _mask(item: Item, header: Header, ids: dict[str, int]) -> bytes | None:
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


def _summary(listing: Listing, output: str) -> Iterator[str]:
    """Yield what was read, what was left out, and the next commands, line by line."""
    shapes = [shape for item in listing.items for shape in item.entry.shapes]
    defective = sum(bool(item.entry.shapes) for item in listing.items)
    good = len(listing.items) - defective
    yield f"wrote {output}: {len(listing.items)} images, {good} good, {defective} defective"
    kinds = Counter(shape.kind for shape in shapes)
    yield f"shapes: {len(shapes)}, as {', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}"
    if kinds["rectangle"]:
        yield "all inside a rectangle counts as defect: outline what is smaller"
    counts = Counter(shape.label for shape in shapes)
    yield f"classes: {', '.join(f'{name} ({counts[name]})' for name in sorted(counts))}"
    if listing.note:
        yield listing.note
    why = defaultdict(list)
    for one in listing.left:
        why[one.why].append(one.name)
    for reason, names in why.items():
        yield f"left out {len(names)}, {listed(names, 5)}: {reason}"
    yield from _next_commands(listing.classes, output)


def _next_commands(classes: Sequence[str], output: str) -> Iterator[str]:
    root = shlex.quote(output)
    for mode in ("check", "train"):
        yield f"next: {own_command()} {mode} --config=folder --config.data.root={root}"
    if len(classes) > 1:
        names = shlex.quote(f"--config.data.classes={tuple(classes)!r}")
        yield f"to tell the classes apart, add {names} --config.model.num_classes={len(classes)}"
