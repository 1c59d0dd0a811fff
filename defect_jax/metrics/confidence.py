"""95 % intervals of the figures that a decision rests on, as key_low and key_high."""

from collections.abc import Callable, Sequence

import numpy as np

from defect_jax.metrics import bootstrap
from defect_jax.metrics.images import Picture
from defect_jax.metrics.intervals import Interval, rate_interval
from defect_jax.metrics.parts import Part

# Rate -> the pictures that it is a rate of, and what is counted among them.
RATES: dict[str, tuple[Callable[[Picture], bool], Callable[[Picture], bool]]] = {
    "recall": (lambda p: p.label == 1, lambda p: p.decision == 1),
    "precision": (lambda p: p.decision == 1, lambda p: p.label == 1),
    "accuracy": (lambda p: True, lambda p: p.decision == p.label),
    "false_positive_rate": (lambda p: p.label == 0, lambda p: p.decision == 1),
    "seg_recall": (lambda p: p.true_px > 0, lambda p: p.predicted_px > 0),
    "seg_recall_hit": (lambda p: p.true_px > 0, lambda p: p.intersection_px > 0),
    "seg_accuracy": (lambda p: True, lambda p: (p.true_px > 0) == (p.predicted_px > 0)),
    "seg_fpr": (lambda p: p.true_px == 0, lambda p: p.predicted_px > 0),
}
PART_RATES: dict[str, tuple[int, str]] = {
    "part_recall": (1, "decision"),
    "part_false_positive_rate": (0, "decision"),
    "sequential_recall": (1, "sequential_decision"),
    "sequential_false_positive_rate": (0, "sequential_decision"),
}


def confidence_intervals(
    pictures: Sequence[Picture], parts: Sequence[Part]
) -> dict[str, float | None]:
    """Exact intervals of rates, bootstrap intervals over parts of ranking and overlap.

    Rates of pictures allow for parts with several pictures (`intervals.rate_interval`); rates of
    parts are Clopper and Pearson's. Bootstrap: percentiles of 1,000 draws of parts, fixed seed.
    """
    intervals: dict[str, Interval | None] = {}
    for key, (counted, hit) in RATES.items():
        inside = [picture for picture in pictures if counted(picture)]
        intervals[key] = rate_interval([hit(p) for p in inside], [p.group for p in inside])
    for key, (label, decision) in PART_RATES.items():
        inside = [part for part in parts if part.label == label]
        hits = [getattr(part, decision) for part in inside]
        intervals[key] = rate_interval(hits, [part.group for part in inside])
    group = [picture.group for picture in pictures]
    for key, metric in bootstrapped(pictures).items():
        intervals[key] = bootstrap.interval(metric, group)
    bounds: dict[str, float | None] = {}
    for key, interval in intervals.items():
        bounds[f"{key}_low"], bounds[f"{key}_high"] = interval or (None, None)
    return bounds


def bootstrapped(pictures: Sequence[Picture]) -> dict[str, bootstrap.Metric]:
    """The metrics that are no rates, as functions of the weights of the pictures."""
    label = np.array([picture.label for picture in pictures])
    score = np.array([picture.score for picture in pictures])
    mask_score = np.array([picture.mask_score for picture in pictures])
    iou = np.array([np.nan if picture.iou is None else picture.iou for picture in pictures])
    return {
        "image_ap": bootstrap.average_precision(label, score),
        "image_auroc": bootstrap.auroc(label, score),
        "mask_image_ap": bootstrap.average_precision(label, mask_score),
        "mask_image_auroc": bootstrap.auroc(label, mask_score),
        "seg_miou": bootstrap.weighted_mean(iou),
    }
