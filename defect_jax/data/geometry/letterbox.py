"""Images of any size onto the one size the network sees, and what of it is padding."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from defect_jax.data.geometry.resampling import resampled
from defect_jax.runtime.errors import UserError

HALF = 0.5 - 1e-5  # an exact half is kept, however the shares are rounded
Box = tuple[slice, slice]  # rows and columns


class Placement(NamedTuple):
    """Where an image of `native` size is inside the network's frame, all in px."""

    top: int
    left: int
    height: int
    width: int


def place(
    native_px: tuple[int, int],
    size_px: tuple[int, int],
    min_scale: float,
    max_scale: float,
    max_stretch: float,
    name: str,
) -> Placement:
    """Fit an image into the frame, centred.

    Both axes are scaled by the largest factor that fits, but never above `max_scale`; both limits
    at 1.0 mean that no image is ever scaled. The axis that leaves room may then be scaled up to
    `max_stretch` times as much, to fill the frame; at 1.0 the aspect is kept.

    Raises:
        UserError: the image would have to be shrunk below `min_scale`.

    >>> place((300, 600), (128, 128), min_scale=0.0, max_scale=1.0, max_stretch=1.0, name="part_7")
    Placement(top=32, left=0, height=64, width=128)
    >>> place((300, 600), (128, 128), min_scale=0.0, max_scale=1.0, max_stretch=1.5, name="part_7")
    Placement(top=16, left=0, height=96, width=128)
    """
    # In float32, and in the order of `letterbox_jax.place`, so that exported networks round alike.
    native, size = np.float32(native_px), np.float32(size_px)
    fitting = np.minimum(size / native, np.float32(max_scale))
    scale = fitting.min()
    if scale < min_scale:
        raise UserError(
            f"{name}: {native_px[0]}x{native_px[1]} px does not fit into config.data.size "
            f"{size_px[0]}x{size_px[1]} at config.data.min_scale {min_scale}; "
            "raise the size or lower the scale"
        )
    scales = np.minimum(fitting, scale * np.float32(max_stretch))
    height, width = map(int, np.clip(np.rint(native * scales), 1, size))
    return Placement((size_px[0] - height) // 2, (size_px[1] - width) // 2, height, width)


def jitter(
    placement: Placement,
    size_px: tuple[int, int],
    shrink: float,
    stretch: float,
    rng: np.random.Generator,
) -> Placement:
    """Place an image a little smaller, a little stretched, and anywhere in the frame.

    Nothing is ever cropped, so no defect is lost. A long run that always sees an image at one
    place and size learns it by heart; a short one does not get that far, and only learns slower.

    Args:
        shrink: largest share by which both sides shrink.
        stretch: largest logarithm of the factor that one side gains on the other.
    """
    scale = 1.0 - rng.uniform(0.0, shrink)
    factor = np.exp(rng.uniform(-stretch, stretch) / 2)
    height = int(np.clip(round(placement.height * scale * factor), 1, size_px[0]))
    width = int(np.clip(round(placement.width * scale / factor), 1, size_px[1]))
    top, left = rng.integers((size_px[0] - height + 1, size_px[1] - width + 1))
    return Placement(int(top), int(left), height, width)


def letterbox_image(
    image: np.ndarray, placement: Placement, size_px: tuple[int, int]
) -> np.ndarray:
    """Scale `image` [h w c] into a frame whose padding mirrors it.

    A border of one value, even of the image's mean, is an edge as strong as a chipped rim, and in
    every image: a network learns it before it learns the defects.

    >>> image = np.array([[[1], [2], [3]]], np.uint8)
    >>> letterbox_image(image, Placement(0, 2, 1, 3), (1, 8)).ravel().tolist()
    [2, 1, 1, 2, 3, 3, 2, 1]
    """
    top, left, height, width = placement
    below, right = size_px[0] - top - height, size_px[1] - left - width
    scaled = resampled(image, (height, width))
    framed = cv2.copyMakeBorder(scaled, top, below, left, right, cv2.BORDER_REFLECT)
    return framed.reshape(*size_px, image.shape[-1])


def letterbox_mask(
    mask: UInt8[np.ndarray, "h w"] | Bool[np.ndarray, "h w"],
    placement: Placement,
    size_px: tuple[int, int],
) -> UInt8[np.ndarray, "height width"]:
    """Scale the class ids of `mask` so that no defect vanishes, and pad them with 0.

    A crack one pixel wide covers a third of each pixel at a third of the size: a plain threshold of
    a half would erase it, and the image would be labelled defective with nothing to see. A pixel
    is therefore kept when its share of defect, whatever the class, is at least half of the largest
    share around it, which is the usual half inside a large defect and keeps the centre line of a
    thin one. A kept pixel gets the class that covers most of it.

    >>> mask = np.array([[0, 2, 2, 1]], np.uint8)
    >>> letterbox_mask(mask, Placement(0, 0, 1, 2), (1, 3)).tolist()
    [[2, 1, 0]]
    """
    framed = np.zeros(size_px, np.uint8)
    if not mask.any():
        return framed
    if placement[2:] == mask.shape:
        framed[_inside(placement)] = mask
        return framed
    box = _defective_part(mask, placement)
    share = _share(mask > 0, placement, box)
    around = cv2.dilate(share, np.ones((3, 3), np.uint8))
    kept = share > HALF * around
    framed[_inside(placement)][box] = kept * _largest_classes(mask, placement, box, kept.shape)
    return framed


def _defective_part(mask: np.ndarray, placement: Placement) -> Box:
    """Return where in the scaled mask there may be shares of defect, with an edge where there is
    none."""
    left, top, columns, rows = cv2.boundingRect(mask.view(np.uint8))
    ends = ((top, top + rows), (left, left + columns))
    scales = np.array(placement[2:]) / mask.shape
    return tuple(
        slice(max(0, int((first - 1) * scale) - 1), int((last + 1) * scale) + 2)
        for (first, last), scale in zip(ends, scales, strict=True)
    )


def _largest_classes(
    mask: np.ndarray, placement: Placement, box: Box, shape: tuple[int, int]
) -> UInt8[np.ndarray, "h w"]:
    """Return the class with the largest share of each pixel, the lowest among equals; 0 is no
    class."""
    first, *others = np.unique(mask[mask > 0])
    largest = np.full(shape, first, np.uint8)
    if others:
        most = _share(mask == first, placement, box)
    for class_id in others:
        share = _share(mask == class_id, placement, box)
        largest[share > most] = class_id
        most = np.maximum(most, share)
    return largest


def _share(chosen: Bool[np.ndarray, "h w"], placement: Placement, box: Box) -> np.ndarray:
    return resampled(chosen[..., None].astype(np.float32), placement[2:], *box)[..., 0]


def valid_area(placement: Placement, size_px: tuple[int, int]) -> np.ndarray:
    """Return True where the frame shows the image, False in the padding: bool [h w]."""
    valid = np.zeros(size_px, bool)
    valid[_inside(placement)] = True
    return valid


def shown(
    hidden: Bool[np.ndarray, "h w"] | None, placement: Placement, size_px: tuple[int, int]
) -> Float32[np.ndarray, "height width"]:
    """Return the share of each pixel of the frame that is the image's and not hidden.

    >>> shown(np.array([[True, False, False, False]]), Placement(0, 1, 1, 2), (1, 3)).tolist()
    [[0.0, 0.5, 1.0]]
    """
    area = valid_area(placement, size_px).astype(np.float32)
    if hidden is None:
        return area
    visible = np.float32(~hidden)[..., None]
    return area * letterbox_image(visible, placement, size_px)[..., 0]


def _inside(placement: Placement) -> tuple[slice, slice]:
    top, left, height, width = placement
    return slice(top, top + height), slice(left, left + width)
