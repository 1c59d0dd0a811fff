"""What the tables hold: the metrics of metrics.json, and the numbers behind a plot."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from defect_jax.metrics.class_counts import ACCURACY, CLASS_MEANINGS, IOU
from defect_jax.metrics.summary import MEANINGS

Metrics = Mapping[str, int | float | None]
Cell = str | int | float | None
MOST_ROWS = 25  # of the numbers behind a plot
EVERY_MEANING = {**MEANINGS, **CLASS_MEANINGS}
ELSEWHERE = ("class_", "size_", IOU, ACCURACY)  # keys that stand in tables of their own
GROUPS = {
    "images": "Pictures",
    "recall": "Decision by the score",
    "image_auroc": "Ranking of pictures, without a threshold",
    "seg_recall": "Decision by the mask, and where it marks",
    "miou_pooled": "Pixels, all pictures together",
    "parts": "Whole parts, from all their pictures",
    "either_recall": "Score and mask together",
    "ece": "Calibration of the score",
    "class_miou": "Classes of defect, pixels of all pictures together",
}


class NumberTable(NamedTuple):
    """The numbers behind a plot; the first column names the row."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


class MetricRow(NamedTuple):
    """A value of metrics.json."""

    key: str
    value: int | float | None
    interval: tuple[float, float] | None
    meaning: str
    group: str  # heading that the row begins, or ""


def metric_rows(metrics: Metrics) -> list[MetricRow]:
    """Return all values of metrics.json but those of slices and of single classes."""
    known = [key for key in MEANINGS if not _is_bound(key, MEANINGS)]
    known += [key for key in CLASS_MEANINGS if key in metrics]
    unknown = [key for key in metrics if key not in EVERY_MEANING and not _is_bound(key, metrics)]
    unknown = [key for key in unknown if not key.startswith(ELSEWHERE)]
    return [_metric_row(key, metrics) for key in known + unknown]


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


def _metric_row(key: str, metrics: Metrics) -> MetricRow:
    low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
    interval = None if low is None or high is None else (low, high)
    return MetricRow(
        key, metrics.get(key), interval, EVERY_MEANING.get(key, ""), GROUPS.get(key, "")
    )
