"""The lights of one shot, read from their files or from the pages of one TIFF."""

import hashlib
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from defect_jax.data.files.file_kinds import BadImage, is_tiff
from defect_jax.data.files.images import Header, Looked, as_image, look
from defect_jax.data.files.pillow_reader import ALPHA_MODES
from defect_jax.data.files.tiff_header import page_places
from defect_jax.data.geometry.channels import grey_if_it_is


class Light(NamedTuple):
    """One image that is whole.

    Attributes:
        encoded: a file that holds it alone.
        pixels: grey where all its colours are the same.
        saved_as_rgb: grey, but its file has three channels.
    """

    encoded: bytes
    header: Header
    pixels: Shaped[np.ndarray, "h w c"]
    saved_as_rgb: bool


def lights_in(
    encoded: bytes, expected: int, max_megapixels: float, float_range: Sequence[float] = ()
) -> list[Light]:
    """Check and decode the lights that one file holds.

    Args:
        expected: how many; more than one are the pages of a TIFF.
        float_range: of float pixels, see `geometry.depth.of_floats`.

    Raises:
        BadImage: as `images.look`; or its transparency shows something, and nobody could say what
            is meant; or the file holds another number of lights.
    """
    files = [encoded] if expected == 1 else pages(encoded, expected)
    return [_light(file, max_megapixels, float_range) for file in files]


def _light(encoded: bytes, max_megapixels: float, float_range: Sequence[float]) -> Light:
    looked = look(encoded, max_megapixels)
    if _shows_by_alpha(looked):
        raise BadImage(
            "has transparency that varies, which the network does not see: save it without as grey "
            "or RGB; where it marks the defect, save that as a mask"
        )
    pixels = as_image(looked.colours, float_range)
    grey = grey_if_it_is(pixels)
    return Light(encoded, looked.header, grey, grey.shape[2] < pixels.shape[2])


def _shows_by_alpha(looked: Looked) -> bool:
    """Return whether there is a channel of transparency with anything in it.

    Where a PNG only names a colour that is clear, the colours hold all there is.
    """
    header, alpha = looked.header, looked.alpha
    if alpha is None or (header.format != "TIFF" and header.mode not in ALPHA_MODES):
        return False
    return bool((alpha != alpha[0, 0]).any())


def difference(first: Light, light: Light) -> str:
    """Say what keeps two lights from being channels of one image; nothing where nothing does."""
    for what, of_first, of_light in (
        ("px", _size(first), _size(light)),
        ("bits", first.pixels.itemsize * 8, light.pixels.itemsize * 8),
    ):
        if of_first != of_light:
            return f"has {of_light} {what}, but the first light of its shot {of_first}"
    return ""


def _size(light: Light) -> str:
    return f"{light.header.width}x{light.header.height}"


def sha256_of(files: Sequence[bytes]) -> str:
    """Return the SHA-256 of a file; of several that of their hashes, one after the other."""
    digests = [hashlib.sha256(file) for file in files]
    if len(digests) == 1:
        return digests[0].hexdigest()
    return hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest()


def pages(data: bytes, expected: int) -> list[bytes]:
    """Return each page of a TIFF as a file of its own: the same bytes, which begin with that page
    and know of no other. So every page is read as carefully as a file is.

    Raises:
        BadImage: it is no TIFF, is damaged, or holds more or fewer pages.
    """
    if not is_tiff(data):
        raise BadImage(f"holds one image, but a shot has {expected} lights (config.data.lights)")
    places = page_places(data)
    if len(places) != expected:
        what = f"holds {len(places)} image{'s' * (len(places) > 1)}"
        raise BadImage(f"{what}, but a shot has {expected} lights (config.data.lights)")
    return [_alone(data, place) for place in places]


def _alone(data: bytes, place: int) -> bytes:
    """Return a TIFF whose first directory is at `place`, and its only one."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    first, pointer, count, entry = (8, "Q", "Q", 20) if big else (4, "I", "H", 12)
    changed = bytearray(data)
    struct.pack_into(f"{order}{pointer}", changed, first, place)
    (entries,) = struct.unpack_from(f"{order}{count}", data, place)
    after = place + struct.calcsize(f"{order}{count}") + entries * entry
    struct.pack_into(f"{order}{pointer}", changed, after, 0)
    return bytes(changed)
