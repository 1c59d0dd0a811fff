"""What a plan rests on: numbers, sizes and defects of the training images."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from defect_jax.data.files.reading import in_threads
from defect_jax.data.files.record_encoding import decode_classes
from defect_jax.data.prepare.prepared import Prepared, Split, SplitRow

MOST_MASKS = 256  # enough for a percentile, and read in seconds
SMALL, TYPICAL, LARGE = 10, 50, 90  # percentiles


class DataFacts(NamedTuple):
    """Of the training images, unless said otherwise; sizes in px.

    The width of a defect is that of the widest place of the widest defect in an image, since an
    image is rejected as soon as any of its defects is seen.
    """

    images: int
    defective: int
    parts: int
    defective_parts: int
    evaluated: int  # images of val and test together
    height: int  # median
    width: int
    uneven: float  # times that one side is longer against the other than in the median image
    smallest_defect: float  # width: of ten defective images one has a smaller one
    typical_defect: float
    marked: int  # images whose defect is known by its mask


def data_facts(prepared: Prepared) -> DataFacts:
    """Return the facts of a prepared set; masks are read, images are not."""
    train = prepared.splits["train"]
    rows = train.rows
    widths = defect_widths(train)
    heights, lengths = (np.array([getattr(r, side) for r in rows]) for side in ("height", "width"))
    return DataFacts(
        images=len(rows),
        defective=sum(row.label for row in rows),
        parts=len({row.group for row in rows}),
        defective_parts=len({row.group for row in rows if row.label}),
        evaluated=sum(len(prepared.splits[name].rows) for name in ("val", "test")),
        height=int(np.median(heights)),
        width=int(np.median(lengths)),
        uneven=unevenness(heights / lengths),
        smallest_defect=float(np.percentile(widths, SMALL)) if widths else 0.0,
        typical_defect=float(np.percentile(widths, TYPICAL)) if widths else 0.0,
        marked=len(widths),
    )


def unevenness(aspects: Sequence[float]) -> float:
    """Return how many times nine in ten images are, at most, longer on one side than the median.

    >>> unevenness([0.5, 0.5, 1.0, 2.0, 2.0])
    2.0
    >>> unevenness([0.7, 0.7, 0.7])
    1.0
    """
    logs = np.log(aspects)
    away = np.abs(logs - np.median(logs))
    return round(float(np.exp(np.percentile(away, LARGE))), 3)


def defect_widths(split: Split) -> list[float]:
    """Return the width of the widest defect of marked images, evenly spread through the split."""
    marked = [number for number, row in enumerate(split.rows) if _is_marked(row)]
    places = np.linspace(0, len(marked) - 1, min(len(marked), MOST_MASKS)).round().astype(int)
    chosen = [marked[place] for place in places]
    return list(in_threads(partial(_width_of, split), chosen, "Reading defects"))


def _is_marked(row: SplitRow) -> bool:
    return row.label > 0 and row.defect_px > 0


def _width_of(split: Split, row: int) -> float:
    return widest(decode_classes(split.source[row]["mask"]))


def widest(mask: UInt8[np.ndarray, "h w"]) -> float:
    """Return the diameter of the largest circle inside the defects of a mask, in px.

    >>> mask = np.zeros((40, 40), np.uint8)
    >>> mask[5:35, 10:13] = 1  # a crack of three pixels
    >>> widest(mask)
    3.0
    """
    inside = cv2.copyMakeBorder((mask > 0).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    # A pixel's distance is that of its centre to the next centre outside.
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return max(0.0, round(2.0 * float(distance.max()) - 1.0, 3))
