"""TIFF: the reader that gives the pixels as the header says.

No one reader reads all of TIFF, and some are wrong without a word: OpenCV multiplies colours by
their alpha, takes separate planes for one, and like Pillow leaves 16 bits inverted where white is
0. So Pillow reads what has up to 8 bits and plain grey of 16, OpenCV colour of 16 bits where
Pillow's upper 8 bits agree, and tifffile the rest. A kind that none of them reads is refused.
"""

import io
import zlib
from typing import NamedTuple

import cv2
import numpy as np
import tifffile
from jaxtyping import Shaped

from defect_jax.data.files.file_kinds import BadImage, first_line
from defect_jax.data.files.pillow_reader import alpha_of, colours_of, load, opened, palette_of
from defect_jax.data.files.tiff_header import (
    BLACK_IS_ZERO,
    DEFLATE,
    LZW,
    NONE,
    OLD_DEFLATE,
    PACKBITS,
    RGB,
    WHITE_IS_ZERO,
    Facts,
)

OF_TIFFFILE = (NONE, DEFLATE, OLD_DEFLATE, PACKBITS)  # which it reads without other packages
OF_OPENCV = (*OF_TIFFFILE, LZW)
MULTIPLIED_ALPHA, STRAIGHT_ALPHA = 1, 2
UNTURN = {  # for each orientation, whether to swap the axes, then to reverse rows and columns
    2: (False, False, True), 3: (False, True, True), 4: (False, True, False),
    5: (True, False, False), 6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip


class Decoded(NamedTuple):
    """See `images.Looked`."""

    colours: Shaped[np.ndarray, "h w c"]
    alpha: Shaped[np.ndarray, "h w"] | None
    indices: Shaped[np.ndarray, "h w"] | None
    palette: Shaped[np.ndarray, "256 3"] | None
    mode: str


def decode(data: bytes, facts: Facts) -> Decoded:
    """Decode the pixels, turned as the file's orientation says.

    Args:
        facts: of the same bytes, within the limit on pixels.

    Raises:
        BadImage: they are damaged, or of a kind that no reader reads.
    """
    if facts.unsigned and (_is_shallow(facts) or _is_plain_grey(facts)):
        return _by_pillow(data, facts)
    if facts.unsigned and facts.bits == 16 and _is_plain_colour(facts):
        return _by_opencv(data)
    if _is_of_tifffile(facts):
        return _by_tifffile(data, facts)
    what = f"{facts.bits} bits, {facts.samples} channels, compression {_name(facts.compression)}"
    raise BadImage(f"is a TIFF of a kind that is not read ({what}): save it as PNG")


def _is_shallow(facts: Facts) -> bool:
    known = not facts.separate or facts.extra in ((), (STRAIGHT_ALPHA,))
    return facts.bits <= 8 and known


def _is_plain_grey(facts: Facts) -> bool:
    return facts.bits == 16 and facts.samples == 1 and facts.photometric == BLACK_IS_ZERO


def _is_plain_colour(facts: Facts) -> bool:
    straight = MULTIPLIED_ALPHA not in facts.extra
    plain = facts.photometric == RGB and not facts.separate and straight
    return plain and facts.compression in OF_OPENCV


def _is_of_tifffile(facts: Facts) -> bool:
    plain = facts.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)
    return plain and facts.compression in OF_TIFFFILE and facts.bits in (8, 16, 32, 64)


def _name(compression: int) -> str:
    try:
        return tifffile.COMPRESSION(compression).name.lower()
    except ValueError:
        return str(compression)


def _by_pillow(data: bytes, facts: Facts) -> Decoded:
    try:
        image = opened(data, max_megapixels=None)
        load(image)
    except BadImage as error:
        if facts.compression in OF_OPENCV:
            raise
        name = _name(facts.compression)
        text = f"is damaged, or its compression {name} is not read: save it with LZW or none"
        raise BadImage(text) from error
    return Decoded(colours_of(image), alpha_of(image), *palette_of(image), image.mode)


def _by_opencv(data: bytes) -> Decoded:
    image = opened(data, max_megapixels=None)
    load(image)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:  # beyond its own limit of pixels, for one
        raise BadImage(f"cannot be decoded ({first_line(error)}): save it again") from error
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise BadImage("is truncated or damaged: copy it again")
    colours = np.ascontiguousarray(pixels[..., 2::-1])
    upper = colours_of(image)
    if upper.shape != colours.shape or ((colours >> 8) != upper).any():
        raise BadImage("has pixels that two readers read differently: save it again as PNG")
    alpha = pixels[..., 3] if pixels.shape[2] == 4 else None
    return Decoded(colours, alpha, None, None, image.mode)


def _by_tifffile(data: bytes, facts: Facts) -> Decoded:
    if MULTIPLIED_ALPHA in facts.extra:
        raise BadImage("has colours multiplied by their alpha: save it without transparency")
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            _refuse_gaps(data, page, facts)
            shape = (facts.samples, facts.height, facts.width)
            raw = page.asarray()
            raw = raw.reshape(shape if facts.separate else (*shape[1:], shape[0]))
    except BadImage:
        raise
    except Exception as error:  # whatever the decoder tripped over
        if "imagecodecs" in str(error):  # what it asks for where it lacks a decoder
            what = f"{facts.bits} bits, a predictor of its own"
            raise BadImage(
                f"is a TIFF of a kind that is not read ({what}): save it as PNG"
            ) from error
        raise BadImage(f"is truncated or damaged ({first_line(error)}): copy it again") from error
    pixels = _turned(np.moveaxis(raw, 0, -1) if facts.separate else raw, facts.orientation)
    if facts.white_is_zero:
        if not facts.unsigned:
            raise BadImage("says that white is 0, of signed or float pixels: save it as PNG")
        pixels = np.iinfo(pixels.dtype).max - pixels
    count = 3 if facts.photometric == RGB else 1
    colours, rest = pixels[..., :count], pixels[..., count:]
    alpha = rest[..., 0] if rest.shape[2] and facts.extra != (0,) else None
    mode = f"{pixels.dtype} {'RGB' if colours.shape[2] == 3 else 'L'}"
    native = colours.dtype.newbyteorder("=")
    return Decoded(np.ascontiguousarray(colours, native), alpha, None, None, mode)


def _refuse_gaps(data: bytes, page: tifffile.TiffPage, facts: Facts) -> None:
    """Refuse pieces that are missing, or that would unpack to more than they may hold.

    tifffile fills the former with zeros, and unpacks the latter into whatever memory there is.
    """
    most_bytes = facts.width * facts.height * facts.samples * ((facts.bits + 7) // 8)
    if page.is_tiled:
        most_bytes += page.tilewidth * page.tilelength * facts.samples * facts.bits
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        piece = data[offset : offset + length]
        if not length or len(piece) < length:
            raise BadImage("is truncated: copy it again")
        if facts.compression in (DEFLATE, OLD_DEFLATE):
            if len(zlib.decompressobj().decompress(piece, most_bytes + 1)) > most_bytes:
                raise BadImage("unpacks to more than its size: save it again")


def _turned(pixels: Shaped[np.ndarray, "..."], orientation: int) -> Shaped[np.ndarray, "..."]:
    """Turn pixels upright, as Pillow and OpenCV do."""
    swap, rows, columns = UNTURN.get(orientation, (False, False, False))
    pixels = pixels.swapaxes(0, 1) if swap else pixels
    return pixels[:: -1 if rows else 1, :: -1 if columns else 1]
