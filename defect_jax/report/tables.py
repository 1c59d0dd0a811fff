"""What the tables hold: the rows of the table of metrics, and the numbers behind a plot."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from defect_jax.metrics.class_counts import ACCURACY, CLASS_MEANINGS, IOU
from defect_jax.metrics.summary import MEANINGS

Cell = str | int | float | None
MOST_ROWS = 25  # of the numbers behind a plot
EVERY_MEANING = {**MEANINGS, **CLASS_MEANINGS}
ELSEWHERE = ("class_", "size_", IOU, ACCURACY)  # keys that stand in tables of their own
GROUPS = {  # key -> heading above it
    "images": "Images",
    "verdict_recall": "The verdict",
    "recall": "Decision by the score alone",
    "image_auroc": "Ranking of images, without a threshold",
    "seg_recall": "Decision by the mask alone, and where it marks",
    "miou_pooled": "Pixels, all images together",
    "parts": "Whole parts, from all their images",
    "either_recall": "Score and mask together",
    "ece": "Calibration of the probability",
    "class_miou": "Classes of defect, pixels of all images together",
}


class NumberTable(NamedTuple):
    """The numbers behind a plot; the first column names the row."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def metric_keys(metrics: Mapping[str, int | float | None]) -> list[str]:
    """Return the keys of all values of metrics.json but those of slices and of single classes."""
    known = [key for key in MEANINGS if not _is_bound(key, MEANINGS)]
    known += [key for key in CLASS_MEANINGS if key in metrics]
    unknown = [key for key in metrics if key not in EVERY_MEANING and not _is_bound(key, metrics)]
    return known + [key for key in unknown if not key.startswith(ELSEWHERE)]


def sampled(count: int) -> list[int]:
    """Return at most `MOST_ROWS` of `count` indices, evenly spread, with the first and the last.

    >>> sampled(3), len(sampled(1000)), sampled(1000)[-1]
    ([0, 1, 2], 25, 999)
    """
    if count <= MOST_ROWS:
        return list(range(count))
    return np.linspace(0, count - 1, MOST_ROWS).round().astype(int).tolist()


def _is_bound(key: str, keys: Iterable[str]) -> bool:
    """Return whether this is an end of another value's interval, which has no row of its own."""
    return key.endswith(("_low", "_high")) and key.rpartition("_")[0] in keys
