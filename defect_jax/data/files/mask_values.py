"""What a mask's values leave open: which of them are defect.

Soft edges and noise of a JPEG are shades that nobody drew; a value to ignore, a palette of one
colour, and a background that is not black would all be read as something that was not meant.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Shaped

from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.images import Header, Looked

MOST_LABEL = 32  # a mask whose values end here holds labels, not shades
NEAR_END = 10  # a value within a tenth of black or white is noise of it, or a label beside "ignore"
MOST_BETWEEN = 0.5  # of the shades, how many may be between darker and lighter neighbours
SHOWN_LEVELS = 5


def refuse_blind_palette(looked: Looked, values: np.ndarray) -> None:
    """Refuse a palette that shows all values in one colour, so that only the values differ."""
    used = np.unique(looked.indices)
    if len(used) > 1 and (values == values[:1, :1]).all():
        named = _listed([str(value) for value in used])
        raise BadImage(
            f"is a mask of the values {named}, which its palette shows in one colour: "
            "save it as grey"
        )


def refuse_white_background(header: Header, defect: Bool[np.ndarray, "h w"]) -> None:
    """Refuse a TIFF whose photometric interpretation turns the mask inside out.

    Some writers note "white is 0" for any mask of one bit, and keep 1 for defect all the same.
    """
    if header.white_is_zero and 2 * np.count_nonzero(defect) > defect.size:
        raise BadImage(
            "is a TIFF mask whose header says that 0 is white, which marks more than half of the "
            "image as defect: save it as PNG, defects white on black"
        )


def refuse_noise(shades: Shaped[np.ndarray, " n"], levels: tuple[str, ...]) -> None:
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


def refuse_soft(values: Shaped[np.ndarray, "h w c"], levels: tuple[str, ...]) -> None:
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


def refuse_no_background(defect: Bool[np.ndarray, "h w"], levels: tuple[str, ...]) -> None:
    if len(levels) > 1 and defect.all():
        raise BadImage(
            f"is a mask of the values {_listed(levels)}, none of them 0, so all of it is defect: "
            "save the background as 0 (black), or set config.data.mask_threshold"
        )


def _advice(top: float) -> str:
    half = int(top) // 2  # thresholds are whole numbers, so shades from 0 to 1 have none
    threshold = f"or set config.data.mask_threshold (here {half} would do)" if half else "as PNG"
    return (
        f"Save it with two values, 0 for background, {threshold}; config.data.classes is for kinds "
        "of defect"
    )


def _listed(levels: Sequence[str]) -> str:
    shown = levels[:SHOWN_LEVELS]
    if len(levels) > SHOWN_LEVELS:
        return f"{', '.join(shown)} … {levels[-1]} ({len(levels)} of them)"
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]
