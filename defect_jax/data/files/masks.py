"""Masks of one kind of defect: a pixel is defect or not, as the file shows it to whoever drew it.

Palettes are read by their colours and TIFF by its photometric interpretation, so that black is
background. What a file leaves open is refused: transparency that says one thing and colours that
say another, and edges that are soft, where nobody said how much of them is defect.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Shaped
from ml_collections import ConfigDict

from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.images import Header, Looked, decode_image, look

MOST_LABEL = 32  # a mask whose values end here holds labels, not shades
NEAR_END = 10  # a value within a tenth of black or white is noise of it, or a label beside "ignore"
MOST_BETWEEN = 0.5  # of the shades, how many may be between darker and lighter neighbours
MOST_LEVELS = 256  # that are told apart
SHOWN_LEVELS = 5


class MaskRules(NamedTuple):
    """How masks are read; see `config.data`."""

    above: int = 0  # values above it are defect; 0: masks have to have two values
    alpha: bool = False  # the defect is drawn in the transparency
    trusted: bool = False  # what looks implausible is taken as it is

    @classmethod
    def of(cls, data: ConfigDict) -> "MaskRules":
        """Read them from `config.data`."""
        return cls(
            data.mask_threshold, data.get("mask_alpha", False), data.get("trust_masks", False)
        )


class Mask(NamedTuple):
    """A mask that was read.

    Attributes:
        header: of its file.
        defect: h w; which pixels are defect.
        levels: its values or, as #rrggbb, its colours, from dark to light, the first of them.
    """

    header: Header
    defect: Bool[np.ndarray, "h w"]
    levels: tuple[str, ...]


def inspect_mask(
    data: bytes, max_megapixels: float, threshold: int, alpha: bool = False, trusted: bool = False
) -> Mask:
    """Check and decode a mask; see `images.look` and `MaskRules`.

    Raises:
        BadImage: the file cannot be used, or does not say for certain what is defect.
    """
    return read_mask(data, max_megapixels, MaskRules(threshold, alpha, trusted))


def read_mask(data: bytes, max_megapixels: float, rules: MaskRules) -> Mask:
    """Check and decode a mask; see `inspect_mask`."""
    looked = look(data, max_megapixels)
    refuse_lossy(looked.header, rules)
    values = _values(looked, rules)
    shades = _shades(values)
    levels = _levels(values, shades)
    defect = _brightest(values) > rules.above
    if not rules.trusted:
        _refuse_white_background(looked.header, defect)
        if rules.above == 0:
            _refuse_noise(shades, levels)
            _refuse_soft(values, levels)
            _refuse_no_background(defect, levels)
    return Mask(looked.header, defect, levels[:MOST_LEVELS])


def decode_mask(data: bytes, threshold: int) -> Bool[np.ndarray, "h w"]:
    """Decode a mask that the program wrote, or that `inspect_mask` has found good.

    Returns:
        Where any channel is above the threshold; transparency does not count.

    Raises:
        BadImage: the bytes cannot be decoded.
    """
    return _brightest(decode_image(data)) > threshold


def refuse_lossy(header: Header, rules: MaskRules) -> None:
    """Refuse a mask whose compression changed its values, unless a threshold was set for it."""
    if header.lossy and rules.above == 0 and not rules.trusted:
        kind = "JPEG" if header.format != "TIFF" else "TIFF with lossy compression (JPEG)"
        raise BadImage(
            f"is a {kind} mask, whose compression noise would count as defect: "
            "save it as PNG, or set config.data.mask_threshold=127"
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
        _refuse_blind_palette(looked, values)
    return values


def _refuse_blind_palette(looked: Looked, values: np.ndarray) -> None:
    """Refuse a palette that shows all values in one colour, so that only the values differ."""
    used = np.unique(looked.indices)
    if len(used) > 1 and (values == values[:1, :1]).all():
        named = _listed([str(value) for value in used])
        raise BadImage(
            f"is a mask of the values {named}, which its palette shows in one colour: "
            "save it as grey"
        )


def _brightest(values: Shaped[np.ndarray, "h w c"]) -> Shaped[np.ndarray, "h w"]:
    """Return the highest channel, in a fortieth of the time of NumPy's maximum along an axis."""
    brightest = values[..., 0]
    for channel in range(1, values.shape[2]):
        brightest = np.maximum(brightest, values[..., channel])
    return brightest


def _shades(values: Shaped[np.ndarray, "h w c"]) -> Shaped[np.ndarray, " n"]:
    """Return the distinct values of all channels, in order."""
    if values.dtype != np.uint8:
        return np.unique(values)
    flat = values.reshape(values.shape[0], -1)
    return np.flatnonzero(cv2.calcHist([flat], [0], None, [256], [0, 256]))


def _levels(
    values: Shaped[np.ndarray, "h w c"], shades: Shaped[np.ndarray, " n"]
) -> tuple[str, ...]:
    """Return the distinct values, or the distinct colours where there are any, dark ones first."""
    if values.shape[2] == 1:
        return tuple(f"{shade:g}" for shade in shades)
    packed = values.astype(np.uint64) @ np.array([1 << 32, 1 << 16, 1], np.uint64)
    colours = [(int(c) >> 32, int(c) >> 16 & 0xFFFF, int(c) & 0xFFFF) for c in np.unique(packed)]
    colours.sort(key=sum)
    return tuple("#" + "".join(f"{channel:02x}" for channel in colour) for colour in colours)


def _refuse_white_background(header: Header, defect: Bool[np.ndarray, "h w"]) -> None:
    """Refuse a TIFF whose photometric interpretation turns the mask inside out.

    Some writers note "white is 0" for any mask of one bit, and keep 1 for defect all the same.
    """
    if header.white_is_zero and 2 * np.count_nonzero(defect) > defect.size:
        raise BadImage(
            "is a TIFF mask whose header says that 0 is white, which marks more than half of the "
            "image as defect: save it as PNG, defects white on black"
        )


def _refuse_noise(shades: Shaped[np.ndarray, " n"], levels: tuple[str, ...]) -> None:
    """Refuse values close to black or white: noise of a JPEG, or labels beside an "ignore"."""
    top = float(shades[-1])
    between = shades[(shades > 0) & (shades < top)]
    near = (between < top / NEAR_END) | (between > top - top / NEAR_END)
    if top <= MOST_LABEL or not near.any():
        return
    if between[-1] <= MOST_LABEL:
        raise BadImage(
            f"is a mask of the values {_listed(levels)}: no value means 'ignore' here, and all "
            f"above 0 would count as defect. If {levels[-1]} is to be ignored, save it as 0; "
            "if the mask was a JPEG, save it with two values"
        )
    raise BadImage(
        f"is a mask of the values {_listed(levels)}, as one that was a JPEG or was resized. "
        f"{_advice(top)}"
    )


def _refuse_soft(values: Shaped[np.ndarray, "h w c"], levels: tuple[str, ...]) -> None:
    """Refuse shades that are mostly between darker and lighter neighbours: edges that are soft."""
    if len(levels) <= 2:
        return
    around = np.ones((3, 3), np.uint8)
    for channel in np.moveaxis(values, 2, 0):
        plain = channel if channel.dtype in (np.uint8, np.uint16) else channel.astype(np.float64)
        plain = np.ascontiguousarray(plain)
        shades = (plain > 0) & (plain < plain.max())
        between = (cv2.erode(plain, around) < plain) & (plain < cv2.dilate(plain, around))
        if np.count_nonzero(between & shades) > MOST_BETWEEN * max(np.count_nonzero(shades), 1):
            raise BadImage(
                f"is a mask with soft edges, of the values {_listed(levels)}, as one that was "
                f"resized or blurred or was a JPEG. {_advice(float(values.max()))}"
            )


def _refuse_no_background(defect: Bool[np.ndarray, "h w"], levels: tuple[str, ...]) -> None:
    if len(levels) > 1 and defect.all():
        raise BadImage(
            f"is a mask of the values {_listed(levels)}, none of them 0, so all of it is defect: "
            "save the background as 0 (black), or set config.data.mask_threshold"
        )


def _advice(top: float) -> str:
    return (
        "Save it with two values, 0 for background, or set config.data.mask_threshold "
        f"(here {int(top) // 2} would do); config.data.classes is for kinds of defect"
    )


def _listed(levels: Sequence[str]) -> str:
    shown = levels[:SHOWN_LEVELS]
    if len(levels) > SHOWN_LEVELS:
        return f"{', '.join(shown)} … {levels[-1]} ({len(levels)} of them)"
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]
