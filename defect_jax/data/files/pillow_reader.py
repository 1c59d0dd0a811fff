"""What Pillow says of a file, and the arrays of what it has decoded: colours, alpha, palette."""

import contextlib
import io
import threading
import warnings

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from defect_jax.data.files.file_kinds import (
    FORMATS,
    BadImage,
    first_line,
    is_tiff,
    refuse_other_formats,
)

PALETTE_MODES = ("P", "PA")
ALPHA_MODES = ("RGBA", "LA", "La", "PA")  # with a channel of transparency
GREY_OR_RGB_MODES = (
    *("1", "L", "LA", "La", *PALETTE_MODES, "RGB", "RGBA", "RGBX"),
    *("I", "I;16", "I;16L", "I;16B"),
)
FOUR_BYTE_MODES = {"RGB": "RGBX", "RGBA": "RGBA", "RGBX": "RGBX"}
JPEG_START, BMP_START = b"\xff\xd8\xff", b"BM"

# Pillow's limit on pixels and Python's warning filters belong to the whole process.
_PILLOW_SETTINGS = threading.Lock()


def opened(data: bytes, max_megapixels: float | None) -> Image.Image:
    """Read the header alone, with Pillow's own guard set to our limit and made an error.

    Raises:
        BadImage: the file is no image of a format that is read, or is too large.
    """
    with _PILLOW_SETTINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None if max_megapixels is None else int(max_megapixels * 1e6)
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.format == "TIFF":
                _read_exif(image)
            return image
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise BadImage(too_large(max_megapixels)) from error
        except Exception as error:
            raise _unopened(data, error) from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _read_exif(image: Image.Image) -> None:
    """Read it now, since a damaged one makes Pillow warn, and later nobody keeps the warning in."""
    with contextlib.suppress(Exception):
        image.getexif()


def too_large(max_megapixels: float) -> str:
    """Return what to say of an image above the limit."""
    return (
        f"is larger than {max_megapixels:g} megapixels: make it smaller, "
        "or raise config.data.max_megapixels if you trust it"
    )


def _unopened(data: bytes, error: Exception) -> BadImage:
    """Tell a format that is not read from one whose header is damaged."""
    try:
        refuse_other_formats(data)
    except BadImage as other:
        return other
    reason = first_line(error)
    if data.startswith(BMP_START):
        return BadImage(f"is a BMP of a kind that is not read ({reason}): save it as PNG")
    if data.startswith(JPEG_START):
        return BadImage(
            "is a JPEG that is damaged, or of a kind that is not read (12 bits, lossless): "
            "copy it again, or save it as PNG"
        )
    if is_tiff(data):
        return BadImage("is a TIFF of a kind that is not read: save it as PNG")
    if isinstance(error, Image.UnidentifiedImageError):
        return BadImage("is not an image, or its beginning is damaged")
    return BadImage(f"has a damaged header ({reason}): copy it again")


def load(image: Image.Image) -> None:
    """Decode the pixels, and so find out whether they are whole.

    Raises:
        BadImage: they are not, or are neither grey nor RGB.
    """
    try:
        image.load()
    except Exception as error:
        # Damaged data surfaces as whatever the decoder tripped over: OSError, SyntaxError,
        # struct.error, IndexError, zlib.error, ...
        raise BadImage(f"is truncated or damaged ({first_line(error)}): copy it again") from error
    if image.mode not in GREY_OR_RGB_MODES:
        raise BadImage(f"is a {image.mode} image: save it as grey or RGB with 8 or 16 bits")


def colours_of(image: Image.Image) -> Shaped[np.ndarray, "h w c"]:
    """Return the pixels as grey or RGB, without transparency; see `decode_image`."""
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)[..., None] * np.uint8(255)
    if image.mode in PALETTE_MODES:
        indices, palette = palette_of(image)
        return palette[indices]
    if image.mode in FOUR_BYTE_MODES:
        # Pillow keeps four bytes a pixel: a thirtieth of the time that its own packing takes.
        pixels = np.frombuffer(image.tobytes("raw", FOUR_BYTE_MODES[image.mode]), np.uint8)
        return cv2.cvtColor(pixels.reshape(image.height, image.width, 4), cv2.COLOR_RGBA2RGB)
    pixels = np.asarray(image)
    if image.mode.startswith("I;16"):
        pixels = pixels.astype(np.uint16, copy=False)  # in the machine's own order of bytes
    return pixels[..., None] if pixels.ndim == 2 else pixels[..., :1]


def palette_of(
    image: Image.Image,
) -> tuple[Shaped[np.ndarray, "h w"] | None, UInt8[np.ndarray, "256 3"] | None]:
    """Return the indices and the colours of an image with a palette, else None twice.

    Colours that a short palette lacks are black, as in every reader.
    """
    if image.mode not in PALETTE_MODES:
        return None, None
    colours = np.frombuffer(image.im.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours)] = colours
    return np.asarray(image.getchannel(0)), palette


def alpha_of(image: Image.Image) -> Shaped[np.ndarray, "h w"] | None:
    """Return how opaque each pixel is: a channel, or what a PNG notes beside grey or palette."""
    if image.mode in ALPHA_MODES:
        return np.asarray(image.getchannel(image.getbands()[-1]))
    clear = image.info.get("transparency")
    if clear is None:
        return None
    if isinstance(clear, bytes):  # of each entry of the palette
        of_index = np.full(256, 255, np.uint8)
        of_index[: len(clear)] = np.frombuffer(clear, np.uint8)
        return of_index[np.asarray(image)]
    pixels = np.asarray(image) if image.mode in PALETTE_MODES else colours_of(image)
    is_clear = np.atleast_3d(pixels == np.asarray(clear)).all(axis=2)
    return np.where(is_clear, np.uint8(0), np.uint8(255))
