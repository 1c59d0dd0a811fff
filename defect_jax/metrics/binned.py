"""Ranking metrics of binned scores, and how far the unbinned ones can be from them.

All functions run on the host in float64 and take one number per bin, the bins in the order of
rising score: defective pixels (`positives`), good ones (`negatives`), or the mean share of a defect
region that is in the bin (`share`, sums to one).
"""

from collections.abc import Sequence

import numpy as np

Values = Sequence | np.ndarray  # of numbers, one a bin


def average_precision(positives: Values, negatives: Values) -> float | None:
    """Return the step-wise AP, Σ (R_k - R_{k-1})·P_k with one step a bin.

    >>> average_precision([0, 1, 1], [2, 1, 0])
    0.8333333333333333
    """
    positives, negatives = _falling(positives), _falling(negatives)
    if not positives.sum():
        return None
    return float((positives * _precision(positives, negatives)).sum() / positives.sum())


def average_precision_bracket(positives: Values, negatives: Values) -> tuple[float, float] | None:
    """Return bounds on the AP of any scores that have these bins.

    In a bin with p positives and n negatives, after t positives and f negatives, the j-th positive
    is worth at least (t + j) / (t + j + f + n), when every negative comes first. Ties can only move
    a positive to the end of its group, so it is worth at most (t + p) / (t + p + f).
    """
    positives, negatives = _falling(positives), _falling(negatives)
    if not positives.sum():
        return None
    after_true, after_false = np.cumsum(positives), np.cumsum(negatives)
    # Σ_j 1 / (a + j) <= log(1 + p / (a + 1/2)): the midpoint rule of a convex function.
    before = after_true - positives + after_false
    worst = positives - after_false * np.log1p(positives / (before + 0.5))
    best = positives * after_true / np.maximum(after_true + after_false - negatives, 1.0)
    return float(worst.sum() / positives.sum()), float(best.sum() / positives.sum())


def auroc(positives: Values, negatives: Values) -> float | None:
    """Return the chance that a defective pixel scores higher than a good one; the same bin counts
    one half.

    >>> auroc([0, 1, 1], [2, 1, 0])
    0.9166666666666666
    """
    return _auroc(positives, negatives, credit_of_ties=0.5)


def auroc_bracket(positives: Values, negatives: Values) -> tuple[float, float] | None:
    """Return the AUROC if every pair inside a bin were in the wrong order, and if in the right
    one."""
    bounds = [_auroc(positives, negatives, credit_of_ties=credit) for credit in (0.0, 1.0)]
    return None if bounds[0] is None else (bounds[0], bounds[1])


def aupro(share: Values, negatives: Values, limit: float) -> float | None:
    """Return the area under region overlap against false-positive rate up to `limit`, divided by
    `limit`.

    The mean overlap over all defect regions (Bergmann et al. 2021, section 4.3) is joined linearly
    between neighbouring bins, and at the limit itself.

    >>> aupro([0.0, 0.25, 0.75], [8, 2, 0], 0.2)
    0.875
    """
    curve = _overlap_curve(share, negatives, limit)
    if curve is None:
        return None
    rate, overlap = curve
    return float((np.diff(rate) * (overlap[1:] + overlap[:-1]) / 2).sum() / limit)


def aupro_bracket(share: Values, negatives: Values, limit: float) -> tuple[float, float] | None:
    """Return the area below every rising curve that meets the curve of the bins, and the area
    above."""
    whole = _overlap_curve(share, negatives, 1.0)
    if whole is None:
        return None
    rate, overlap = np.minimum(whole[0], limit), whole[1]
    steps = np.diff(rate) / limit
    return float((steps * overlap[:-1]).sum()), float((steps * overlap[1:]).sum())


def best_f1_bin(positives: Values, negatives: Values) -> int | None:
    """Return the bin from which on to call pixels positive for the best F1; the higher recall at a
    tie.

    Of the bins that decide alike, the middle one.

    >>> best_f1_bin([0, 0, 0, 0, 5], [9, 0, 0, 0, 1])
    2
    """
    positives, negatives = _falling(positives), _falling(negatives)
    if not positives.sum():
        return None
    occupied = np.flatnonzero(positives + negatives)
    f1 = 2 * np.cumsum(positives) / (np.cumsum(positives + negatives) + positives.sum())
    best = np.flatnonzero(f1[occupied] == f1[occupied].max())[-1]
    last_in = len(positives) - 1 - occupied[best]
    rest = occupied[best + 1 :]
    first_out = len(positives) - 1 - rest[0] if rest.size else -1
    return int((first_out + 1 + last_in) // 2)


def _falling(values: Values) -> np.ndarray:
    return np.asarray(values, np.float64)[::-1]


def _precision(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    return np.cumsum(positives) / np.maximum(np.cumsum(positives + negatives), 1.0)


def _auroc(positives: Values, negatives: Values, credit_of_ties: float) -> float | None:
    positives, negatives = np.asarray(positives, np.float64), np.asarray(negatives, np.float64)
    pairs = positives.sum() * negatives.sum()
    if not pairs:
        return None
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + credit_of_ties * negatives)).sum() / pairs)


def _overlap_curve(
    share: Values, negatives: Values, limit: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return false-positive rate and overlap from the strictest threshold, ending at the limit."""
    share, negatives = _falling(share), _falling(negatives)
    if not share.sum() or not negatives.sum():
        return None
    rate = np.concatenate([[0.0], np.cumsum(negatives) / negatives.sum()])
    overlap = np.concatenate([[0.0], np.cumsum(share) / share.sum()])
    inside = rate <= limit
    if inside.all():
        return rate, overlap
    last = int(np.flatnonzero(inside)[-1])
    part = (limit - rate[last]) / (rate[last + 1] - rate[last])
    at_limit = overlap[last] + part * (overlap[last + 1] - overlap[last])
    return np.append(rate[inside], limit), np.append(overlap[inside], at_limit)
