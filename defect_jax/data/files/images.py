"""Encoded images to arrays, and everything that can be wrong with one file.

Two readers share the work for PNG, JPEG and BMP. Pillow judges a file (it notices truncation, and
knows the size before it decodes), OpenCV gives the pixels (it is quick and keeps 16 bits in colour
too), and the two have to agree, or the file is refused. TIFF has a file of its own. Pixels are
left as they are stored, whatever the EXIF orientation says; that of a TIFF is applied, so a mask
fits its image in any reader.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8, UInt16
from PIL import ExifTags, Image

from defect_jax.data.files import tiff
from defect_jax.data.files.file_kinds import (
    BadImage,
    first_line,
    is_tiff,
    refuse_other_formats,
)
from defect_jax.data.files.pillow_reader import (
    alpha_of,
    colours_of,
    load,
    opened,
    palette_of,
    too_large,
)
from defect_jax.data.files.tiff_header import facts_of
from defect_jax.data.geometry.depth import of_floats
from defect_jax.runtime import memory

PNG_END = b"IEND\xaeB`\x82"
BYTES_A_PIXEL = 8  # that two readers take for colour of 8 bits, at least
PNG_START = b"\x89PNG"
PNG_SIGNATURE = PNG_START + b"\r\n\x1a\n"
PROFILE_WITHIN_BYTES = 512  # it stands before palette and pixels
PNG_DEPTH_BYTE, PNG_COLOUR_TYPE_BYTE = 24, 25
PNG_GREY_WITH_ALPHA = 4
TO_RGB = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
# Most files are of these kinds, with so many channels, in which the readers agree on every pixel
# (see tests/test_image_corpus.py). Comparing them would double the time of a JPEG.
PROVED = {
    ("PNG", "L", 8): 1,
    ("PNG", "RGB", 8): 3,
    ("PNG", "I;16", 16): 1,
    ("JPEG", "L", 8): 1,
    ("JPEG", "RGB", 8): 3,
}
# Two builds of one JPEG library may round differently; one that swaps channels is far beyond.
MOST_JPEG_DIFFERENCE = 8

# Every broken file would otherwise print lines of its own beside our one clear line.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

# Images are handled in threads of the program's own; more of them inside OpenCV only wait.
cv2.setNumThreads(1)


class Header(NamedTuple):
    """What an image's header holds."""

    format: str
    mode: str  # as Pillow names it
    height: int
    width: int
    turned: bool  # carries an EXIF orientation that is not followed
    bits: int  # of a value as it is stored
    lossy: bool  # its compression changes pixels
    white_is_zero: bool = False  # stored so; the pixels that are read are black at 0


class Looked(NamedTuple):
    """A file that is whole, with all that it shows.

    Attributes:
        header: see `Header`.
        colours: h w c; grey or RGB, or numbers of another type in a TIFF.
        alpha: h w; None where the file holds none.
        indices: h w; into the palette; None where the file has none.
        palette: n 3; its colours, of 8 bits.
    """

    header: Header
    colours: Shaped[np.ndarray, "h w c"]
    alpha: Shaped[np.ndarray, "h w"] | None
    indices: Shaped[np.ndarray, "h w"] | None
    palette: UInt8[np.ndarray, "n 3"] | None


def check_image(data: bytes, max_megapixels: float) -> Header:
    """Look for everything that can be wrong with an image or a mask; see `look`."""
    return look(data, max_megapixels).header


def inspect_image(data: bytes, max_megapixels: float) -> tuple[Header, np.ndarray]:
    """Check and decode an image; see `look` and `decode_image`."""
    looked = look(data, max_megapixels)
    return looked.header, as_image(looked.colours)


def look(data: bytes, max_megapixels: float) -> Looked:
    """Look for everything that can be wrong with a file, and decode it to be sure.

    Args:
        data: the file's bytes.
        max_megapixels: larger images are refused by their header, before memory is spent on them.

    Raises:
        BadImage: the file is no image, is truncated or damaged, is too large, holds several, or
            is of a kind that no reader reads for certain.
        MemoryError: there is less memory than it takes to decode it.
    """
    if is_tiff(data):
        return _look_at_tiff(data, max_megapixels)
    image = opened(data, max_megapixels)
    header = _header(data, image)
    if getattr(image, "n_frames", 1) > 1 and image.format == "PNG":
        raise BadImage(f"holds {image.n_frames} images: save each in a file of its own")
    memory.check_free(header.height * header.width * BYTES_A_PIXEL)
    load(image)
    # Pillow accepts a PNG whose last bytes are missing; OpenCV does not.
    if image.format == "PNG" and PNG_END not in data:
        raise BadImage("is truncated (no end chunk): copy it again")
    channels = PROVED.get((header.format, header.mode, header.bits))
    if channels is not None and "transparency" not in image.info:
        del image  # of the memory that it gives back, OpenCV makes use at once
        return Looked(header, _colours_as_expected(data, header, channels), None, None, None)
    pixels = decode(data)
    colours = _colours(data, pixels)
    _refuse_disagreement(header, image, colours)
    alpha = pixels[..., 3] if pixels.shape[2] == 4 else alpha_of(image)
    return Looked(header, colours, alpha, *palette_of(image))


def _look_at_tiff(data: bytes, max_megapixels: float) -> Looked:
    refuse_other_formats(data)
    facts = facts_of(data)
    if facts.height * facts.width > int(max_megapixels * 1e6):
        raise BadImage(too_large(max_megapixels))
    memory.check_free(facts.height * facts.width * BYTES_A_PIXEL)
    colours, alpha, indices, palette, mode = tiff.decode(data, facts)
    header = Header(
        format="TIFF",
        mode=mode,
        height=colours.shape[0],
        width=colours.shape[1],
        turned=False,
        bits=facts.bits,
        lossy=facts.lossy,
        white_is_zero=facts.white_is_zero,
    )
    return Looked(header, colours, alpha, indices, palette)


def _header(data: bytes, image: Image.Image) -> Header:
    width, height = image.size
    bits = data[PNG_DEPTH_BYTE] if image.format == "PNG" else 1 if image.mode == "1" else 8
    return Header(
        format=image.format,
        mode=image.mode,
        height=height,
        width=width,
        turned=_orientation(image) not in (None, 1),
        bits=bits,
        lossy=image.format not in ("PNG", "BMP"),  # JPEG, and MPO: several of them in one file
    )


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a damaged EXIF block does not make the pixels unusable
        return None


def _colours_as_expected(data: bytes, header: Header, channels: int) -> np.ndarray:
    colours = _colours(data, decode(data))
    if colours.shape != (header.height, header.width, channels):
        raise BadImage("is read in two sizes by two readers: save it again as PNG")
    return colours


def _refuse_disagreement(header: Header, image: Image.Image, colours: np.ndarray) -> None:
    """Refuse a file whose pixels depend on who reads it: nobody could say which are right."""
    if colours.shape[:2] != (header.height, header.width):
        raise BadImage("is read in two sizes by two readers: save it again as PNG")
    other = colours_of(image)
    if colours.dtype == np.uint16 and other.dtype == np.uint8:  # Pillow has no colour of 16 bits
        colours = (colours >> 8).astype(np.uint8)
    if colours.shape[2] < other.shape[2]:  # a palette of greys, or grey of 16 bits with alpha
        colours = np.repeat(colours, other.shape[2], axis=2)
    agree = colours.shape == other.shape and colours.dtype == other.dtype
    most = MOST_JPEG_DIFFERENCE if header.lossy else 0
    if not agree or cv2.norm(colours, other, cv2.NORM_INF) > most:
        raise BadImage(
            f"is a {header.format} whose pixels two readers read differently: save it again as PNG"
        )


def decode_image(data: bytes) -> UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"]:
    """Decode an image: grey stays grey, RGB order, 16 bits stay 16 bits, transparency is dropped.

    Args:
        data: bytes of a file that `inspect_image` has found good, or what `unpacked` made of it.

    Returns:
        The pixels with one channel (grey) or three (red, green, blue).

    Raises:
        BadImage: the bytes cannot be decoded, or hold neither grey nor RGB of 8 or 16 bits.
    """
    if is_tiff(data):
        return as_image(tiff.decode(data, facts_of(data))[0])
    return as_image(_colours(data, decode(data)))


def as_image(
    colours: Shaped[np.ndarray, "h w c"], float_range: Sequence[float] = ()
) -> Shaped[np.ndarray, "h w c"]:
    """Return colours in numbers that an image may have.

    Args:
        float_range: of float pixels, see `geometry.depth.of_floats`.

    Raises:
        BadImage: they are others.
    """
    if np.issubdtype(colours.dtype, np.floating):
        try:
            return of_floats(colours, float_range)
        except ValueError as error:
            raise BadImage(str(error)) from None
    if colours.dtype not in (np.uint8, np.uint16):
        raise BadImage(
            f"holds {colours.dtype} pixels: save it with 16 bits, all images scaled by the same "
            "factor"
        )
    return colours


def _colours(data: bytes, pixels: Shaped[np.ndarray, "h w k"]) -> Shaped[np.ndarray, "h w c"]:
    """Return grey or RGB of what OpenCV decoded."""
    if pixels.shape[2] == 4 and _png_colour_type(data) == PNG_GREY_WITH_ALPHA:
        pixels = pixels[..., :1]  # OpenCV gives blue, green, red and alpha for these, too
    if pixels.shape[2] not in (1, 3, 4):
        raise BadImage(f"has {pixels.shape[2]} channels: save it as grey or RGB")
    if pixels.shape[2] == 1:
        return np.ascontiguousarray(pixels)
    # A fortieth of the time that NumPy takes to copy a reversed axis of three.
    return cv2.cvtColor(pixels, TO_RGB[pixels.shape[2]])


def decode(data: bytes) -> Shaped[np.ndarray, "h w c"]:
    """Decode what the bytes hold, channels in OpenCV's order.

    Raises:
        BadImage: they cannot be decoded.
    """
    try:
        silent = _without_profile(data)
        pixels = cv2.imdecode(np.frombuffer(silent, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise BadImage(f"cannot be decoded ({first_line(error)}): save it again") from error
    if pixels is None:
        raise BadImage("is truncated or damaged: copy it again")
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _without_profile(data: bytes) -> bytes:
    """Leave out a PNG's colour profile, which changes no pixel here.

    libpng prints a line for each one that it does not like, and some programs write no others.
    """
    place = len(PNG_SIGNATURE)
    while data.startswith(PNG_SIGNATURE) and place < PROFILE_WITHIN_BYTES:
        end = place + 12 + int.from_bytes(data[place : place + 4])  # length, type, content, sum
        if data[place + 4 : place + 8] == b"iCCP":
            return data[:place] + data[end:]
        place = end
    return data


def _png_colour_type(data: bytes) -> int | None:
    return data[PNG_COLOUR_TYPE_BYTE] if data.startswith(PNG_START) else None
