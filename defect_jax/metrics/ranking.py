"""Ranking metrics of scores, exact, on the host in float64.

Every function takes `label` (1 = defective) and `score` (higher = more likely defective) of the
same length. Equal scores are one step of the curve, never an order among themselves. What is not
defined, because there is no defective or no good image, is None and never a made-up number.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Values = Sequence | np.ndarray  # of numbers, one an image


class PrecisionRecall(NamedTuple):
    """One entry per distinct score, from the strictest threshold to the loosest."""

    precision: np.ndarray
    recall: np.ndarray
    threshold: np.ndarray  # reject when score >= threshold


class Roc(NamedTuple):
    """The curve from (0, 0), whose threshold is infinite, to (1, 1)."""

    false_positive_rate: np.ndarray
    recall: np.ndarray
    threshold: np.ndarray


class _Sweep(NamedTuple):
    true: np.ndarray  # defective images at or above the threshold
    false: np.ndarray  # good ones
    threshold: np.ndarray  # distinct scores, falling


def average_precision(label: Values, score: Values) -> float | None:
    """Return the step-wise AP, Σ (R_k - R_{k-1})·P_k over the distinct scores; None without
    defectives.

    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    curve = precision_recall_curve(label, score)
    if curve is None:
        return None
    return float((np.diff(curve.recall, prepend=0.0) * curve.precision).sum())


def average_precision_trapezoid(label: Values, score: Values) -> float | None:
    """Return the area under the precision-recall points joined by lines, from precision 1 at recall
    0.

    Published KSDD2 figures use both; this one is usually the lower where scores are distinct.

    >>> round(average_precision_trapezoid([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.7917
    """
    curve = precision_recall_curve(label, score)
    if curve is None:
        return None
    precision = np.concatenate([[1.0], curve.precision])
    return float((np.diff(curve.recall, prepend=0.0) * (precision[1:] + precision[:-1]) / 2).sum())


def auroc(label: Values, score: Values) -> float | None:
    """Return the chance that a defective image scores higher than a good one; a tie counts one
    half.

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    sweep = _sweep(label, score)
    if not _has_both(sweep):
        return None
    true, false = np.append(0, sweep.true), np.append(0, sweep.false)
    twice_area = (np.diff(false) * (true[1:] + true[:-1])).sum()  # exact: integers
    return float(twice_area / (2 * int(sweep.true[-1]) * int(sweep.false[-1])))


def precision_recall_curve(label: Values, score: Values) -> PrecisionRecall | None:
    """Return the precision and recall at every distinct score; None without defectives.

    >>> precision_recall_curve([0, 1, 1], [0.2, 0.2, 0.9]).recall.tolist()
    [0.5, 1.0]
    """
    sweep = _sweep(label, score)
    if not sweep.true.size or not sweep.true[-1]:
        return None
    precision = sweep.true / (sweep.true + sweep.false)
    return PrecisionRecall(precision, sweep.true / sweep.true[-1], sweep.threshold)


def roc_curve(label: Values, score: Values) -> Roc | None:
    """Return the recall against false-positive rate; None unless there are both kinds of image.

    >>> roc_curve([0, 1, 1], [0.2, 0.2, 0.9]).false_positive_rate.tolist()
    [0.0, 0.0, 1.0]
    """
    sweep = _sweep(label, score)
    if not _has_both(sweep):
        return None
    return Roc(
        np.append(0, sweep.false) / sweep.false[-1],
        np.append(0, sweep.true) / sweep.true[-1],
        np.append(np.inf, sweep.threshold),
    )


def recall_at_fpr(label: Values, score: Values, limit: float = 0.05) -> float | None:
    """Return the highest recall that a threshold reaches with a false-positive rate of at most
    `limit`.

    >>> recall_at_fpr([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.5
    """
    curve = roc_curve(label, score)
    return None if curve is None else float(curve.recall[curve.false_positive_rate <= limit].max())


def fpr_at_recall(label: Values, score: Values, floor: float = 0.95) -> float | None:
    """Return the lowest false-positive rate that a threshold reaches with a recall of at least
    `floor`.

    >>> fpr_at_recall([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.5
    """
    curve = roc_curve(label, score)
    return None if curve is None else float(curve.false_positive_rate[curve.recall >= floor].min())


def best_f1_threshold(label: Values, score: Values) -> float | None:
    """Return the threshold of the best F1, midway to the next lower score; None without defectives.

    Scores are probabilities: below the lowest one comes 0. Equal F1 goes to the higher recall,
    because a missed defect costs more than a second look.

    >>> best_f1_threshold([0, 1, 0, 1], [0.1, 0.4, 0.5, 0.8])
    0.25
    """
    sweep = _sweep(label, score)
    if not sweep.true.size or not sweep.true[-1]:
        return None
    f1 = 2 * sweep.true / (sweep.true + sweep.false + sweep.true[-1])
    best = np.flatnonzero(f1 == f1.max())[-1]
    upper, lower = np.append(sweep.threshold, 0.0)[best : best + 2]
    middle = lower + (upper - lower) / 2
    # Between neighbouring floats there is no middle; the lower score must stay below the threshold.
    return float(middle if middle > lower else upper)


def _sweep(label: Values, score: Values) -> _Sweep:
    label, score = np.asarray(label), np.asarray(score, np.float64)
    if label.shape != score.shape or label.ndim != 1:
        raise ValueError(f"label and score differ in shape: {label.shape} and {score.shape}")
    if not np.isin(label, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1, not {np.unique(label)[:5]}")
    if not np.isfinite(score).all():
        raise ValueError("scores must be finite")
    order = np.argsort(-score, kind="stable")
    label, score = label[order].astype(np.int64), score[order]
    last_of_tie = np.flatnonzero(np.append(np.diff(score) != 0, True)) if score.size else order
    true = np.cumsum(label)[last_of_tie]
    return _Sweep(true, last_of_tie + 1 - true, score[last_of_tie])


def _has_both(sweep: _Sweep) -> bool:
    return bool(sweep.true.size and sweep.true[-1] and sweep.false[-1])
