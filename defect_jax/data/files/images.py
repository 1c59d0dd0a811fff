"""Encoded images to arrays, and everything that can be wrong with one file.

Two readers share the work. Pillow judges a file (it notices truncation, and knows the size before
it decodes), OpenCV gives the pixels (it is quick and keeps 16 bits in colour too). Both leave the
pixels of PNG and JPEG as they are stored, whatever the EXIF orientation says, and both apply the
orientation of a TIFF, so a mask fits its image in either.
"""

import io
import threading
import warnings
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Shaped, UInt8, UInt16
from PIL import ExifTags, Image

from defect_jax.runtime import memory

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
GREY_OR_RGB_MODES = (
    "1",
    "L",
    "LA",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBX",
    "I",
    "I;16",
    "I;16L",
    "I;16B",
)
PNG_END = b"IEND\xaeB`\x82"
BYTES_A_PIXEL = 8  # that two readers take for colour of 8 bits, at least
PNG_START = b"\x89PNG"
PNG_COLOUR_TYPE_BYTE = 25
TO_RGB = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
PNG_PALETTE, PNG_GREY_WITH_ALPHA = 3, 4

# Every broken file would otherwise print lines of its own beside our one clear line.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

# Images are handled in threads of the program's own; more of them inside OpenCV only wait.
cv2.setNumThreads(1)

# Pillow's limit on pixels and Python's warning filters belong to the whole process.
_PILLOW_SETTINGS = threading.Lock()


class BadImage(ValueError):
    """A file that cannot be used; the message says why and what to do, without the file's name."""


class Header(NamedTuple):
    """What an image's header holds."""

    format: str
    mode: str
    height: int
    width: int
    turned: bool  # carries an EXIF orientation that is not followed


def check_image(data: bytes, max_megapixels: float) -> Header:
    """Look for everything that can be wrong with an image or a mask, and decode it to be sure.

    Args:
        data: the file's bytes.
        max_megapixels: larger images are refused by their header, before memory is spent on them.

    Raises:
        BadImage: the file is no image, is truncated or damaged, is too large, or holds several.
        MemoryError: there is less memory than it takes to decode it.
    """
    if not data:
        raise BadImage("is empty: copy it again")
    image = _open(data, max_megapixels)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format in ("TIFF", "PNG"):
        raise BadImage(f"holds {frames} images: save each in a file of its own")
    width, height = image.size
    turned = image.format != "TIFF" and _orientation(image) not in (None, 1)
    header = Header(image.format, image.mode, height, width, turned)
    memory.check_free(height * width * BYTES_A_PIXEL)
    try:
        image.load()
    except Exception as error:
        # Damaged data surfaces as whatever the decoder tripped over: OSError, SyntaxError,
        # struct.error, IndexError, zlib.error, ...
        raise BadImage(f"is truncated or damaged ({_first_line(error)}): copy it again") from error
    # Pillow accepts a PNG whose last bytes are missing; OpenCV does not.
    if image.format == "PNG" and PNG_END not in data:
        raise BadImage("is truncated (no end chunk): copy it again")
    return header


def _open(data: bytes, max_megapixels: float | None) -> Image.Image:
    """Read the header alone, with Pillow's own guard set to our limit and made an error."""
    with _PILLOW_SETTINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None if max_megapixels is None else int(max_megapixels * 1e6)
        try:
            return Image.open(io.BytesIO(data), formats=FORMATS)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            text = (
                f"is larger than {max_megapixels:g} megapixels: make it smaller, "
                "or raise config.data.max_megapixels if you trust it"
            )
            raise BadImage(text) from error
        except Image.UnidentifiedImageError as error:
            raise BadImage("is not an image, or its beginning is damaged") from error
        except Exception as error:
            raise BadImage(f"has a damaged header ({_first_line(error)}): copy it again") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a damaged EXIF block does not make the pixels unusable
        return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def inspect_image(data: bytes, max_megapixels: float) -> tuple[Header, np.ndarray]:
    """Check and decode an image; see `check_image` and `decode_image`."""
    header = check_image(data, max_megapixels)
    if header.mode not in GREY_OR_RGB_MODES:
        raise BadImage(f"is a {header.mode} image: save it as grey or RGB with 8 or 16 bits")
    pixels = decode_image(data)
    if pixels.shape[:2] != (header.height, header.width):
        raise BadImage("is read in two sizes by two readers: save it again as PNG")
    return header, pixels


def inspect_mask(
    data: bytes, max_megapixels: float, threshold: int
) -> tuple[Header, Bool[np.ndarray, "h w"]]:
    """Check and decode a mask; see `check_image` and `decode_mask`."""
    header = check_image(data, max_megapixels)
    if header.format == "JPEG" and threshold == 0:
        text = (
            "is a JPEG mask, whose compression noise would count as defect: "
            "save it as PNG, or raise config.data.mask_threshold"
        )
        raise BadImage(text)
    return header, decode_mask(data, threshold)


def decode_image(data: bytes) -> UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"]:
    """Decode an image: grey stays grey, RGB order, 16 bits stay 16 bits, transparency is dropped.

    Args:
        data: bytes of a PNG, JPEG, BMP or TIFF file, or what `unpacked` made of one.

    Returns:
        The pixels with one channel (grey) or three (red, green, blue).

    Raises:
        BadImage: the bytes cannot be decoded, or hold neither grey nor RGB of 8 or 16 bits.
    """
    pixels = decode(data)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise BadImage(f"holds {pixels.dtype} pixels: save it with 8 or 16 bits")
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
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise BadImage(f"cannot be decoded ({_first_line(error)}): save it again") from error
    if pixels is None:
        raise BadImage("is truncated or damaged: copy it again")
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _png_colour_type(data: bytes) -> int | None:
    return data[PNG_COLOUR_TYPE_BYTE] if data.startswith(PNG_START) else None


def decode_mask(data: bytes, threshold: int) -> Bool[np.ndarray, "h w"]:
    """Decode a mask of any depth: a pixel is defect when any channel is above the threshold.

    In a palette mask the indices count, not the colours they stand for; in a mask of one bit, set
    pixels count as 255; transparency does not count.

    Args:
        data: bytes of a PNG, JPEG, BMP or TIFF file.
        threshold: highest value that is still background.

    Raises:
        BadImage: the bytes cannot be decoded.
    """
    return (mask_values(data) > threshold).any(axis=2)


def mask_values(data: bytes) -> Shaped[np.ndarray, "h w c"]:
    """Decode the values of a mask: indices of a palette, else its channels, without transparency.

    Raises:
        BadImage: the bytes cannot be decoded.
    """
    indices = _palette_indices(data)
    values = decode(data) if indices is None else indices[..., None]
    return values[..., :3] if values.shape[2] == 4 else values


def _palette_indices(data: bytes) -> np.ndarray | None:
    if _png_colour_type(data) not in (None, PNG_PALETTE):
        return None  # spares the prepared masks, all grey PNG, a second reader
    image = _open(data, max_megapixels=None)
    return np.asarray(image.getchannel(0)) if image.mode in ("P", "PA") else None
