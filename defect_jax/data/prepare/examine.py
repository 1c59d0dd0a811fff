"""Looks at one image and its mask: what is wrong with them, and what has to be known of them."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, UInt8
from ml_collections import ConfigDict

from defect_jax.data.files.bounded import BadFile
from defect_jax.data.files.class_masks import inspect_classes
from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.images import Header
from defect_jax.data.files.lights import Light, difference, lights_in, sha256_of
from defect_jax.data.files.masks import MaskRules, inspect_mask
from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.files.record_encoding import encode_classes, encode_image, encode_lights
from defect_jax.data.files.region_files import marked
from defect_jax.data.geometry.channels import grey_if_it_is, in_one
from defect_jax.data.geometry.depth import EIGHT_BITS, Depth, depth_of
from defect_jax.data.geometry.intensity import WIDENED
from defect_jax.data.prepare import ignoring
from defect_jax.data.prepare.near_duplicates import thumbnail
from defect_jax.data.prepare.prepared import SplitRow
from defect_jax.data.sources.records import Fault, Record
from defect_jax.runtime.memory import shortage

T = TypeVar("T")


class Facts(NamedTuple):
    """What is kept of an image once it has been examined."""

    height: int
    width: int
    lights: tuple[int, ...]  # channels of each: 1 where its colours are all the same, else 3
    bit_depth: int
    turned: bool  # carries an EXIF orientation that is not followed
    defect_px: int
    image_sha256: str
    mask_sha256: str  # of nothing, for a good part without a mask
    pixels_sha256: str = ""  # of the decoded image; the same however it is saved, see below
    truth_sha256: str = ""  # of the class ids; nothing for no mask and an empty one
    thumbnail: bytes = b""  # see `near_duplicates.thumbnail`
    mask_levels: tuple[str, ...] = ()  # see `masks.Mask`; empty where values are class ids
    depth: Depth = EIGHT_BITS
    grey_saved_as_rgb: int = 0  # lights
    ignored_px: int = 0  # that are not judged
    ignored_sha256: str = ""  # of the plane that says which; nothing where all are


class Examined(NamedTuple):
    """One image with its faults, or without any and ready to be stored."""

    record: Record
    faults: list[Fault]
    facts: Facts | None
    image: bytes  # see `record_encoding.encode_lights`
    mask: bytes  # PNG of class ids at the image's size
    ignored: bytes = b""  # PNG of what is not judged; nothing where all is


class Truth(NamedTuple):
    """What a mask's file says."""

    ids: UInt8[np.ndarray, "h w"]
    unsure: Bool[np.ndarray, "h w"]
    levels: tuple[str, ...] = ()


def examine(raw: RawFiles, data: ConfigDict, classes: int, record: Record) -> Examined:
    """Read, check and decode one image and its mask.

    Args:
        classes: how many there are, and so the highest id that a mask may hold.
    """
    try:
        return _examined(raw, data, classes, record)
    except MemoryError as error:  # costs one image, and not the whole run
        fault = Fault(raw.where(record.image), shortage(error) or str(error))
        return Examined(record, [fault], None, b"", b"")


def _examined(raw: RawFiles, data: ConfigDict, classes: int, record: Record) -> Examined:
    faults = []

    def attempt(name: str, look: Callable[[bytes], T]) -> tuple[bytes, T | None]:
        encoded = b""
        try:
            encoded = raw.read(name)
            return encoded, look(encoded)
        except (BadImage, BadFile, MemoryError) as error:
            faults.append(Fault(raw.where(name), shortage(error) or str(error)))
        except OSError as error:
            reason = error.strerror or str(error)
            faults.append(Fault(raw.where(name), f"cannot be read ({reason}): copy it again"))
        return encoded, None

    lights, files = [], []
    expected = data.get("lights", 1) if len(record.files) == 1 else 1
    rules = data.max_megapixels, tuple(data.get("float_range", ()))
    for name in record.files:
        file, found = attempt(name, lambda b: lights_in(b, expected, *rules))
        lights += found or []
        files.append(file)
    faults += _unlike(raw, record, lights) if not faults else []
    mask_file, truth, drawn = b"", None, None
    if record.mask is not None:
        mask_file, truth = attempt(record.mask, lambda b: _truth(b, data, classes, record))
    elif lights:
        truth = _nothing_drawn(lights[0].pixels.shape[:2])
    if record.ignore is not None:
        _, drawn = attempt(record.ignore, lambda b: marked(b, data.max_megapixels))
    if lights and truth is not None:
        faults += _disagreements(raw, record, lights[0].header, truth)
        faults += ignoring.faults(raw, data, record, lights[0].header, drawn)
    ignored = None if faults else ignoring.plane(data, truth.unsure, drawn)
    faults += ignoring.nothing_left(raw, record, ignored)
    if faults:
        return Examined(record, faults, None, b"", b"")
    record, ids = ignoring.judged(record, truth.ids, ignored)
    lights = [_blanked(light, ignored) for light in lights]
    facts = _facts(lights, ids, files, mask_file)
    facts = facts._replace(mask_levels=truth.levels, **ignoring.facts(ignored))
    stored = encode_lights(lights), encode_classes(ids), ignoring.encoded(ignored)
    return Examined(record, [], facts, *stored)


def _blanked(light: Light, ignored: ignoring.Plane) -> Light:
    """Return a light without what is not judged; see `ignoring.blanked`."""
    pixels = ignoring.blanked(light.pixels, ignored)
    if pixels is light.pixels:
        return light
    return light._replace(encoded=encode_image(pixels), pixels=grey_if_it_is(pixels))


def _unlike(raw: RawFiles, record: Record, lights: Sequence[Light]) -> list[Fault]:
    """Return a fault for each light of another size or depth than the first."""
    files = record.files if record.more_lights else [record.image] * len(lights)
    faults = []
    for number, (name, light) in enumerate(zip(files, lights, strict=True), 1):
        if what := difference(lights[0], light):
            page = "" if record.more_lights else f" (page {number})"
            faults.append(Fault(raw.where(name), f"{what}{page}: save all lights alike"))
    return faults


def _truth(encoded: bytes, data: ConfigDict, classes: int, record: Record) -> Truth:
    if record.class_id is None:
        rules = data.max_megapixels, classes, data.get("ignore_value")
        return Truth(*inspect_classes(encoded, *rules))
    mask = inspect_mask(encoded, data.max_megapixels, MaskRules.of(data))
    return Truth(mask.defect * np.uint8(record.class_id), mask.unsure, mask.levels)


def _nothing_drawn(native_px: tuple[int, int]) -> Truth:
    return Truth(np.zeros(native_px, np.uint8), np.zeros(native_px, bool))


def _disagreements(raw: RawFiles, record: Record, header: Header, truth: Truth) -> list[Fault]:
    mask, (height, width) = truth.ids, truth.ids.shape
    if (height, width) != (header.height, header.width):
        hint = " (the image carries an EXIF rotation, which does not count)" * header.turned
        what = (
            f"is {width}x{height} px, but its image {header.width}x{header.height} px{hint}: "
            "save the mask at the image's size"
        )
        return [Fault(raw.where(record.mask or record.image), what)]
    if truth.unsure.any() and not mask.any():
        what = "marks nothing but config.data.ignore_value: draw what is defect for certain"
        return [Fault(raw.where(record.mask or record.image), what)]
    if record.masked and mask.any() != bool(record.label):
        marks = "marks a defect" if mask.any() else "marks no defect"
        what = f"{marks}, but its image is filed as {record.class_name}: correct one of the two"
        return [Fault(raw.where(record.mask or record.image), what)]
    return []


def _facts(
    lights: Sequence[Light], mask: np.ndarray, files: Sequence[bytes], mask_file: bytes
) -> Facts:
    header, pixels = lights[0].header, in_one([light.pixels for light in lights])
    return Facts(
        height=header.height,
        width=header.width,
        lights=tuple(light.pixels.shape[2] for light in lights),
        bit_depth=pixels.itemsize * 8,
        turned=any(light.header.turned for light in lights),
        defect_px=int(np.count_nonzero(mask)),
        image_sha256=sha256_of(files),
        mask_sha256=hashlib.sha256(mask_file).hexdigest(),
        pixels_sha256=_sha256(_narrowed(pixels)),
        truth_sha256=_sha256(mask) if mask.any() else "",
        thumbnail=thumbnail(pixels),
        depth=depth_of(pixels),
        grey_saved_as_rgb=sum(light.saved_as_rgb for light in lights),
    )


def _sha256(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.shape} {array.dtype.str}\n".encode())
    digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _narrowed(pixels: np.ndarray) -> np.ndarray:
    """Return 8 bits of an image of 16 whose values are all those of 8, each times `WIDENED`."""
    if pixels.dtype == np.uint8 or (pixels % WIDENED).any():
        return pixels
    return (pixels // WIDENED).astype(np.uint8)


def example(examined: Examined) -> dict[str, Any]:
    """Return the stored form of an image without faults; see `prepared.Split`."""
    record, facts = examined.record, examined.facts
    return {
        "id": record.id,
        "group": record.group,
        "class_name": record.class_name,
        "label": record.label,
        "height": facts.height,
        "width": facts.width,
        "image": examined.image,
        "mask": examined.mask,
        "masked": int(record.masked),
        "ignored": examined.ignored,
    }


def split_row(record: Record, facts: Facts) -> SplitRow:
    """Return what is known of a stored image without decoding it."""
    return SplitRow(
        id=record.id,
        group=record.group,
        class_name=record.class_name,
        label=record.label,
        height=facts.height,
        width=facts.width,
        defect_px=facts.defect_px,
        sha256=facts.image_sha256,
        mask_sha256=facts.mask_sha256,
        masked=int(record.masked),
        ignored_px=facts.ignored_px,
    )
