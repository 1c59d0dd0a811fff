"""Whatever a caller has an image in, as the array that a predictor takes, or refused in one line.

What is told apart here goes wrong without a word otherwise: rows of an array taken for images,
indices of a palette for grey values, three channels of another colour model for RGB.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt, UInt8
from PIL import Image

from defect_jax.data.geometry.channels import channel_names
from defect_jax.data.geometry.depth import of_floats
from defect_jax.data.geometry.region import HIDDEN
from defect_jax.runtime.errors import UserError

PIL_MODES = ("L", "RGB", "I;16", "I;16L", "I;16B", "I;16N")
SHAPES = "give [height, width] for grey or [height, width, 3] for RGB"
DTYPES = "give uint8 or uint16"


def listed_images(images: Any) -> tuple[list[Any], bool]:
    """Return the images that were given, each with the axes it came with, and whether it was one.

    An array of two or three axes is one image, one of four is several: whose array it is
    (NumPy's, JAX's, PyTorch's, Pillow's) makes no difference. A list or tuple is several.

    Raises:
        UserError: it is none of these.

    >>> [len(listed_images(np.zeros(shape, np.uint8))[0]) for shape in ((4, 6, 3), (2, 4, 6, 3))]
    [1, 2]
    """
    if _is_array(images):
        if isinstance(images, Image.Image):
            return [images], True
        array = as_numpy(images, "the image")
        return ([array], True) if array.ndim < 4 else (list(array), False)
    if isinstance(images, Sequence) and not isinstance(
        images, str | bytes | bytearray | memoryview
    ):
        return list(images), False
    kind = type(images).__name__
    raise UserError(f"the image: is of type {kind}: give an array, or a list of arrays")


def _is_array(image: Any) -> bool:
    """Return whether NumPy reads it as one array; what is in a list does not matter."""
    return hasattr(image, "__array__") or hasattr(image, "__array_interface__")


def as_numpy(image: Any, name: str) -> Shaped[np.ndarray, "..."]:
    """Return an image as NumPy has it, in this machine's byte order.

    Raises:
        UserError: it is no array, hides some of its pixels, or is a Pillow image whose values
            are neither grey nor RGB.
    """
    if not _is_array(image):
        raise UserError(f"{name}: is of type {type(image).__name__}: give an array")
    if isinstance(image, np.ma.MaskedArray):
        raise UserError(f"{name}: is a masked array: give its data, filled as you mean it")
    if isinstance(image, Image.Image) and image.mode not in PIL_MODES:
        raise UserError(f"{name}: is a Pillow image of mode {image.mode}: convert it to L or RGB")
    try:
        array = np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:
        # A tensor on a GPU or with a gradient, a donated or traced array: all say what to do.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{name}: cannot be read as an array ({reason})") from error
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _shape_of(lights: Sequence[int]) -> str:
    return f"give [height, width, {sum(lights)}] for {', '.join(channel_names(lights))}"


def checked(
    image: Any, name: str, lights: Sequence[int] = (), float_range: Sequence[float] = ()
) -> UInt[np.ndarray, "h w c"]:
    """Return the image with its axis of channels.

    Args:
        lights: channels of each light of shots of several.
        float_range: of float pixels, see `geometry.depth.of_floats`; empty where those are refused.

    Raises:
        UserError: no array, other axes, other numbers, or nothing in it.

    >>> checked(np.zeros((2, 3), np.uint8), "x").shape
    (2, 3, 1)
    """
    array = as_numpy(image, name)
    shaped = array[..., None] if array.ndim == 2 else array
    channels, shapes = ((sum(lights),), _shape_of(lights)) if lights else ((1, 3), SHAPES)
    if shaped.ndim != 3 or shaped.shape[2] not in channels or shaped.size == 0:
        first = " (channels come last)" if array.ndim == 3 and array.shape[0] in channels else ""
        raise UserError(f"{name}: has shape {list(array.shape)}{first}: {shapes}")
    if float_range and np.issubdtype(shaped.dtype, np.floating):
        try:
            return of_floats(shaped, float_range)
        except ValueError as error:
            raise UserError(f"{name}: {error}") from None
    if shaped.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{name}: holds {array.dtype}: {DTYPES}")
    return shaped


def checked_ignored(
    ignored: Any, image: Shaped[np.ndarray, "h w c"], name: str
) -> UInt8[np.ndarray, "h w"] | None:
    """Return what is not to be judged in an image, HIDDEN where it is so; None where all is.

    Args:
        ignored: an array that is not 0 there, or None.

    Raises:
        UserError: it is of another size, or holds no whole numbers or truth values.
    """
    if ignored is None:
        return None
    plane = as_numpy(ignored, f"{name}: ignored")
    if plane.shape != image.shape[:2]:
        sizes = [list(plane.shape), list(image.shape[:2])]
        raise UserError(f"{name}: ignored has shape {sizes[0]}, but the image {sizes[1]}: crop it")
    if plane.dtype != bool and not np.issubdtype(plane.dtype, np.integer):
        raise UserError(f"{name}: ignored holds {plane.dtype}: give bool or uint8")
    return np.where(plane != 0, HIDDEN, 0).astype(np.uint8)
