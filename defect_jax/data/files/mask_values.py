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
NEAR_COLOUR = 32  # colours are alike within that share; those that people choose are further apart
MOST_COLOURS = 256
IGNORED, VOID = 255, "#e0e0c0"  # what PASCAL VOC, and many programs after it, draw borders in
MOST_BETWEEN = 0.5  # of the shades, how many may be between darker and lighter neighbours
SHOWN_LEVELS = 5
LABELS = (
    "config.data.trust_masks=True takes all above 0 as defect, config.data.classes is for kinds "
    "of defect"
)


def refuse_blind_palette(looked: Looked, values: np.ndarray) -> None:
    """Refuse a palette that shows all values in one colour, so that only the values differ."""
    if (values != values[:1, :1]).any():
        return
    used = np.unique(looked.indices)
    if len(used) > 1:
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


def refuse_ignored(looked: Looked, levels: tuple[str, ...]) -> None:
    """Refuse palettes and colours of PASCAL VOC where they leave a border out: as a value 255."""
    used = np.zeros(1) if looked.indices is None else np.unique(looked.indices)
    labels = used[(used > 0) & (used < IGNORED)]
    beside_labels = used[-1] == IGNORED and labels.size and labels[-1] <= MOST_LABEL
    if VOID in levels or (beside_labels and (looked.palette[IGNORED] > 0).any()):
        what = f"the value {IGNORED} beside labels" if beside_labels else f"the colour {VOID}"
        raise BadImage(
            f"is a mask with {what}, which often means 'ignore', and would count as defect: set "
            f"config.data.ignore_value={IGNORED}, or save it as 0 (black)"
        )


def refuse_noise(
    colours: Shaped[np.ndarray, "n c"],
    brightest: Shaped[np.ndarray, "h w"],
    levels: tuple[str, ...],
) -> None:
    """Refuse values close to black or to another: noise of a JPEG, or labels beside an "ignore".

    Args:
        colours: the distinct values, or colours.
        brightest: the highest channel of each pixel.
    """
    tops = np.unique(colours.max(axis=1).astype(np.float64))
    between = tops[(tops > 0) & (tops < tops[-1])]
    near_black = (between < tops[-1] / NEAR_END).any()
    if tops[-1] <= MOST_LABEL or not (near_black or _any_alike(colours, between)):
        return
    if between.size and between[-1] <= MOST_LABEL:
        raise BadImage(
            f"is a mask of the values {_listed(levels)}: all above 0 would count as defect. If "
            f"{levels[-1]} means 'ignore', set config.data.ignore_value={levels[-1]}; if the mask "
            "was a JPEG, save it with two values"
        )
    raise BadImage(
        f"is a mask of the values {_listed(levels)}, as one that was a JPEG or was resized. "
        f"{two_values(brightest)}; {LABELS}"
    )


def _any_alike(colours: Shaped[np.ndarray, "n c"], between: Shaped[np.ndarray, " m"]) -> bool:
    """Return whether a grey is close to the lightest, or a colour to any other that is drawn."""
    top = float(colours.max())
    if colours.shape[1] == 1:
        return bool((between > top - top / NEAR_END).any())
    if len(colours) > MOST_COLOURS:
        return True
    drawn = colours[colours.any(axis=1)].astype(np.float64)
    apart = np.abs(drawn[:, None] - drawn).max(axis=2) + np.where(np.eye(len(drawn)), top, 0)
    return bool((apart < top / NEAR_COLOUR).any())


def refuse_soft(
    values: Shaped[np.ndarray, "h w c"],
    brightest: Shaped[np.ndarray, "h w"],
    levels: tuple[str, ...],
) -> None:
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
                f"resized or blurred or was a JPEG. {two_values(brightest)}; {LABELS}"
            )


def refuse_no_background(defect: Bool[np.ndarray, "h w"], levels: tuple[str, ...]) -> None:
    if len(levels) > 1 and defect.all():
        raise BadImage(
            f"is a mask of the values {_listed(levels)}, none of them 0, so all of it is defect: "
            "save the background as 0 (black), or set config.data.mask_threshold"
        )


def two_values(brightest: Shaped[np.ndarray, "h w"]) -> str:
    """Say what to do about shades, and what a threshold at half of the highest would leave."""
    half = int(brightest.max()) // 2  # thresholds are whole numbers; shades from 0 to 1 have none
    kept, of = (np.count_nonzero(brightest > above) for above in (half, 0))
    threshold = (
        f"or set config.data.mask_threshold={half} (keeps {kept:,} of the {of:,} px above 0)"
        if half
        else "as PNG"
    )
    return f"Save it with two values, 0 for background, {threshold}"


def _listed(levels: Sequence[str]) -> str:
    shown = levels[:SHOWN_LEVELS]
    if len(levels) > SHOWN_LEVELS:
        return f"{', '.join(shown)} … {levels[-1]} ({len(levels)} of them)"
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]
