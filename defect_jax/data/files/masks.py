"""Masks of one kind of defect: a pixel is defect or not, as the file shows it to whoever drew it.

Palettes are read by their colours and TIFF by its photometric interpretation, so that black is
background. What a file leaves open is refused: transparency that says one thing and colours that
say another, and edges that are soft, where nobody said how much of them is defect.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Shaped
from ml_collections import ConfigDict

from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.images import Header, Looked, decode_image, look
from defect_jax.data.files.mask_values import (
    refuse_blind_palette,
    refuse_ignored,
    refuse_no_background,
    refuse_noise,
    refuse_soft,
    refuse_white_background,
    two_values,
)

MOST_LEVELS = 256  # that are told apart


class MaskRules(NamedTuple):
    """How masks are read; see `config.data`."""

    above: int = 0  # values above it are defect; 0: masks have to have two values
    alpha: bool = False  # the defect is drawn in the transparency
    trusted: bool = False  # what looks implausible is taken as it is
    ignored: int | None = None  # the value of pixels that nobody is sure of

    @classmethod
    def of(cls, data: ConfigDict) -> "MaskRules":
        """Read them from `config.data`."""
        return cls(
            data.mask_threshold,
            data.get("mask_alpha", False),
            data.get("trust_masks", False),
            data.get("ignore_value"),
        )


class Mask(NamedTuple):
    """A mask that was read.

    Attributes:
        header: of its file.
        defect: h w; which pixels are defect.
        levels: its values or, as #rrggbb, its colours, from dark to light: the first of them, and
            the last.
        unsure: h w; which pixels have the value that says so.
    """

    header: Header
    defect: Bool[np.ndarray, "h w"]
    levels: tuple[str, ...]
    unsure: Bool[np.ndarray, "h w"]


def inspect_mask(data: bytes, max_megapixels: float, rules: MaskRules) -> Mask:
    """Check and decode a mask; see `images.look`.

    Raises:
        BadImage: the file cannot be used, or does not say for certain what is defect.
    """
    looked = look(data, max_megapixels)
    values = _values(looked, rules)
    unsure = unsure_pixels(looked, _brightest(values), rules.ignored)
    values = np.where(unsure[..., None], 0, values).astype(values.dtype)
    brightest = _brightest(values)
    if rules.above == 0 and not rules.trusted:
        _refuse_lossy(looked.header, brightest)
    colours = _distinct(values)
    levels = _levels(colours)
    defect = brightest > rules.above
    if not rules.trusted:
        refuse_white_background(looked.header, defect)
        if rules.above == 0:
            if rules.ignored is None:
                refuse_ignored(looked, levels)
            refuse_noise(colours, brightest, levels)
            refuse_soft(values, brightest, levels)
            refuse_no_background(defect, levels)
    if len(levels) > MOST_LEVELS:
        levels = (*levels[: MOST_LEVELS - 1], levels[-1])
    return Mask(looked.header, defect, levels, unsure)


def unsure_pixels(
    looked: Looked, values: Shaped[np.ndarray, "h w"], ignored: int | None
) -> Bool[np.ndarray, "h w"]:
    """Return which pixels have the value that says that nobody is sure of them.

    Args:
        values: of a mask that has no palette; of one that has, the places in it count.
        ignored: that value; None: no pixel has it.
    """
    if ignored is None:
        return np.zeros(values.shape, bool)
    return (values if looked.indices is None else looked.indices) == ignored


def decode_mask(data: bytes, threshold: int) -> Bool[np.ndarray, "h w"]:
    """Decode a mask that the program wrote, or that `inspect_mask` has found good.

    Returns:
        Where any channel is above the threshold; transparency does not count.

    Raises:
        BadImage: the bytes cannot be decoded.
    """
    return _brightest(decode_image(data)) > threshold


def _refuse_lossy(header: Header, brightest: Shaped[np.ndarray, "h w"]) -> None:
    """Refuse a mask whose compression changed its values, unless a threshold was set for it."""
    if header.lossy:
        kind = (
            "a mask in a TIFF with lossy compression" if header.format == "TIFF" else "a JPEG mask"
        )
        raise BadImage(
            f"is {kind}, whose compression noise would count as defect, also when it is made a "
            f"PNG. {two_values(brightest)}"
        )


def refuse_transparency(looked: Looked) -> None:
    """Refuse transparency that varies: the defect may be drawn in it."""
    if looked.alpha is not None and np.ptp(looked.alpha) > 0:
        raise BadImage(
            "is a mask whose transparency varies: set config.data.mask_alpha=True if the defect "
            "is drawn in it, else save the mask without transparency"
        )


def _values(looked: Looked, rules: MaskRules) -> Shaped[np.ndarray, "h w c"]:
    """Return the values that the threshold is for."""
    if rules.alpha:
        if looked.alpha is None:
            raise BadImage(
                "is a mask without transparency, but config.data.mask_alpha is True: "
                "save it with the defect opaque, or set config.data.mask_alpha=False"
            )
        return looked.alpha[..., None]
    refuse_transparency(looked)
    values = looked.colours
    if (values == values[..., :1]).all():  # grey saved as RGB
        values = values[..., :1]
    if not np.isfinite(values).all() or values.min() < 0:
        raise BadImage("is a mask with values below 0 or not finite: save it with 8 bits")
    if looked.indices is not None:
        refuse_blind_palette(looked, values)
    return values


def _brightest(values: Shaped[np.ndarray, "h w c"]) -> Shaped[np.ndarray, "h w"]:
    """Return the highest channel, in a fortieth of the time of NumPy's maximum along an axis."""
    brightest = values[..., 0]
    for channel in range(1, values.shape[2]):
        brightest = np.maximum(brightest, values[..., channel])
    return brightest


def _distinct(values: Shaped[np.ndarray, "h w c"]) -> Shaped[np.ndarray, "n c"]:
    """Return the distinct values, or the distinct colours where there are any, dark ones first."""
    if values.shape[2] == 3:
        packed = np.unique(values.astype(np.uint64) @ np.array([1 << 32, 1 << 16, 1], np.uint64))
        colours = np.stack([packed >> 32, packed >> 16 & 0xFFFF, packed & 0xFFFF], axis=1)
        return colours[np.argsort(colours.sum(axis=1), kind="stable")]
    if values.dtype != np.uint8:
        return np.unique(values)[:, None]
    return np.flatnonzero(cv2.calcHist([values[..., 0]], [0], None, [256], [0, 256]))[:, None]


def _levels(colours: Shaped[np.ndarray, "n c"]) -> tuple[str, ...]:
    if colours.shape[1] == 1:
        return tuple(f"{shade:g}" for shade in colours[:, 0])
    return tuple("#" + "".join(f"{int(channel):02x}" for channel in colour) for colour in colours)
