"""95 % intervals of the figures that a decision rests on, as key_low and key_high."""

from collections.abc import Callable, Sequence

import numpy as np

from defect_jax.metrics import bootstrap
from defect_jax.metrics.images import ImageRow
from defect_jax.metrics.intervals import Interval, rate_interval
from defect_jax.metrics.parts import Part

# Rate -> the images that it is a rate of, and what is counted among them.
RATES: dict[str, tuple[Callable[[ImageRow], bool], Callable[[ImageRow], bool]]] = {
    "verdict_recall": (lambda p: p.label == 1, lambda p: p.rejected == 1),
    "verdict_precision": (lambda p: p.rejected == 1, lambda p: p.label == 1),
    "verdict_accuracy": (lambda p: True, lambda p: p.rejected == p.label),
    "verdict_false_positive_rate": (lambda p: p.label == 0, lambda p: p.rejected == 1),
    "recall": (lambda p: p.label == 1, lambda p: p.decision == 1),
    "precision": (lambda p: p.decision == 1, lambda p: p.label == 1),
    "accuracy": (lambda p: True, lambda p: p.decision == p.label),
    "false_positive_rate": (lambda p: p.label == 0, lambda p: p.decision == 1),
    "seg_recall": (lambda p: p.label, lambda p: p.predicted_px > 0),
    "seg_recall_hit": (lambda p: p.true_px > 0, lambda p: p.intersection_px > 0),
    "seg_accuracy": (lambda p: True, lambda p: p.label == (p.predicted_px > 0)),
    "seg_fpr": (lambda p: not p.label, lambda p: p.predicted_px > 0),
}
PART_RATES: dict[str, tuple[int, str]] = {
    "part_recall": (1, "decision"),
    "part_false_positive_rate": (0, "decision"),
    "sequential_recall": (1, "sequential_decision"),
    "sequential_false_positive_rate": (0, "sequential_decision"),
}


def confidence_intervals(
    images: Sequence[ImageRow], parts: Sequence[Part]
) -> dict[str, float | None]:
    """Return exact intervals of rates, bootstrap intervals over parts of ranking and overlap.

    Rates of images allow for parts with several images (`intervals.rate_interval`); rates of
    parts are Clopper and Pearson's. Bootstrap: percentiles of 1,000 draws of parts, fixed seed.
    """
    intervals: dict[str, Interval | None] = {}
    for key, (counted, hit) in RATES.items():
        inside = [image for image in images if counted(image)]
        intervals[key] = rate_interval([hit(p) for p in inside], [p.group for p in inside])
    for key, (label, decision) in PART_RATES.items():
        inside = [part for part in parts if part.label == label]
        hits = [getattr(part, decision) for part in inside]
        intervals[key] = rate_interval(hits, [part.group for part in inside])
    group = [image.group for image in images]
    for key, metric in bootstrapped(images).items():
        intervals[key] = bootstrap.interval(metric, group)
    bounds: dict[str, float | None] = {}
    for key, interval in intervals.items():
        bounds[f"{key}_low"], bounds[f"{key}_high"] = interval or (None, None)
    return bounds


def bootstrapped(images: Sequence[ImageRow]) -> dict[str, bootstrap.Metric]:
    """Return the metrics that are no rates, as functions of the weights of the images."""
    label = np.array([image.label for image in images])
    score = np.array([image.score for image in images])
    mask_score = np.array([image.mask_score for image in images])
    iou = np.array([np.nan if image.iou is None else image.iou for image in images])
    return {
        "image_ap": bootstrap.average_precision(label, score),
        "image_auroc": bootstrap.auroc(label, score),
        "mask_image_ap": bootstrap.average_precision(label, mask_score),
        "mask_image_auroc": bootstrap.auroc(label, mask_score),
        "seg_miou": bootstrap.weighted_mean(iou),
    }
