"""How images and masks are stored in prepared sets, and masks in what the program writes."""

import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise

import cv2
import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from defect_jax.data.files.file_kinds import BadImage, is_tiff
from defect_jax.data.files.images import decode, decode_image
from defect_jax.data.files.lights import Light
from defect_jax.data.geometry.channels import MOST_CHANNELS, grey_if_it_is, in_one

LIGHTS_START = b"lights\n"  # then their number, the size of each in bytes, their files
MOST_GROWTH = 4  # grey photographs grow by 2 to 4, as PNG or JPEG; smooth JPEGs in colour by 30


def unpacked(encoded: bytes, pixels: Shaped[np.ndarray, "h w c"]) -> bytes:
    """Return the image as a Netpbm file, or as it is where its pixels take `MOST_GROWTH` times the
    room; a TIFF is then made a PNG, since what reads TIFF for certain is slow.

    In Netpbm pixels are there as they are: it is decoded in a fiftieth of the time of a PNG.

    Args:
        encoded: its own file, whose pixels `decode_image` returns.
    """
    suffix = ".pgm" if pixels.shape[2] == 1 else ".ppm"
    if pixels.nbytes > MOST_GROWTH * len(encoded):
        if not is_tiff(encoded):
            return encoded
        suffix = ".png"
    done, data = cv2.imencode(suffix, pixels[..., ::-1])
    if not done:
        raise ValueError(f"OpenCV could not encode an image of shape {pixels.shape}")
    return data.tobytes()


def encode_lights(lights: Sequence[Light]) -> bytes:
    """Return a shot for a prepared set: one light as `unpacked`, several of these in one."""
    files = [unpacked(light.encoded, light.pixels) for light in lights]
    if len(files) == 1:
        return files[0]
    sizes = struct.pack(f"<B{len(files)}Q", len(files), *map(len, files))
    return b"".join([LIGHTS_START, sizes, *files])


def decode_lights(data: bytes) -> list[Shaped[np.ndarray, "h w _"]]:
    """Return the lights of a stored shot, grey where all colours of one are the same.

    Raises:
        BadImage: the bytes are not what `encode_lights` returns.
    """
    lights = [grey_if_it_is(decode_image(file)) for file in _files(data)]
    if len({(light.shape[:2], light.dtype) for light in lights}) != 1:
        raise BadImage("holds lights of several sizes or depths: delete the prepared set")
    return lights


def decode_stored(data: bytes) -> Shaped[np.ndarray, "h w c"]:
    """Return all channels of a stored shot; see `decode_lights`."""
    return in_one(decode_lights(data))


def _files(data: bytes) -> list[bytes]:
    if not data.startswith(LIGHTS_START):
        return [data]
    place = len(LIGHTS_START)
    try:
        sizes = struct.unpack_from(f"<{data[place]}Q", data, place + 1)
    except (IndexError, struct.error) as error:
        raise BadImage("is damaged: delete the prepared set") from error
    ends = list(accumulate(sizes, initial=place + 1 + 8 * len(sizes)))
    if not 1 < len(sizes) <= MOST_CHANNELS or ends[-1] != len(data):
        raise BadImage("is damaged: delete the prepared set")
    return [data[start:end] for start, end in pairwise(ends)]


def encode_image(pixels: Shaped[np.ndarray, "h w c"]) -> bytes:
    """Encode an image of 8 or 16 bits as PNG, without loss."""
    done, data = cv2.imencode(".png", pixels[..., ::-1])
    if not done:
        raise ValueError(f"OpenCV could not encode an image of shape {pixels.shape}")
    return data.tobytes()


def encode_mask(mask: Bool[np.ndarray, "h w"]) -> bytes:
    """Encode a mask as a grey PNG of 0 and 255, without loss."""
    return encode_classes(mask.astype(np.uint8) * 255)


def decode_classes(data: bytes) -> UInt8[np.ndarray, "h w"]:
    """Decode the class ids of a stored mask, 0 for background; see `prepared.Split`.

    Raises:
        BadImage: the bytes are no 8-bit image of one channel.
    """
    ids = decode(data)
    if ids.dtype != np.uint8 or ids.shape[2] != 1:
        raise BadImage(f"holds {ids.shape[2]} channels of {ids.dtype}, not class ids of 8 bits")
    return ids[..., 0]


def decode_ignored(data: bytes) -> UInt8[np.ndarray, "h w"] | None:
    """Decode what is not judged in an image, see `data.geometry.region`; None where all is.

    Raises:
        BadImage: as `decode_classes`.
    """
    return decode_classes(data) if data else None


def encode_classes(ids: UInt8[np.ndarray, "h w"]) -> bytes:
    """Encode class ids as a grey PNG, without loss.

    Plain areas need no filter of PNG: without one they are smaller, and decoded in 0.6 of the time.
    """
    done, data = cv2.imencode(".png", ids, [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE])
    if not done:
        raise ValueError(f"OpenCV could not encode a mask of shape {ids.shape}")
    return data.tobytes()
