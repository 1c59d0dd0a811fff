"""Exact intervals of rates, and what is left of them when images of one part are alike."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

Values = Sequence | np.ndarray  # of numbers, one an image
Interval = tuple[float, float]
CONFIDENCE = 0.95


def clopper_pearson(
    successes: float | int, trials: float | int, confidence: float = CONFIDENCE
) -> Interval:
    """Return the interval of a binomial rate that holds the truth at least so often (Clopper,
    Pearson 1934).

    Both may be fractions, as effective counts are.

    >>> [round(bound, 4) for bound in clopper_pearson(0, 22)]
    [0.0, 0.1544]
    >>> [round(bound, 4) for bound in clopper_pearson(8, 10)]
    [0.4439, 0.9748]
    """
    tail = (1.0 - confidence) / 2.0
    failures = trials - successes
    low = stats.beta.ppf(tail, successes, failures + 1.0) if successes > 0 else 0.0
    high = stats.beta.ppf(1.0 - tail, successes + 1.0, failures) if failures > 0 else 1.0
    return float(low), float(high)


def rate_interval(
    hits: Values, groups: Sequence[str], confidence: float = CONFIDENCE
) -> Interval | None:
    """Return the interval of the share of `hits`, one 0 or 1 an image; None without images.

    With one image a group it is Clopper and Pearson's. Images of one part resemble each other
    and are worth fewer than their number: then the counts are divided by the design effect before
    the same formula (Korn and Graubard 1998), with the variance between groups. All hits alike give
    no variance; then only the groups are counted.

    Args:
        hits: what is counted, 0 or 1.
        groups: the part that each image shows.

    >>> [round(bound, 3) for bound in rate_interval([1, 1, 0, 1], ["a", "b", "c", "d"])]
    [0.194, 0.994]
    >>> [round(bound, 3) for bound in rate_interval([1, 1, 1, 1], ["a", "a", "b", "b"])]
    [0.158, 1.0]
    """
    hits = np.asarray(hits, np.float64)
    if not hits.size:
        return None
    index = np.unique(np.asarray(groups), return_inverse=True)[1]
    effective = _effective_size(hits, index, confidence)
    return clopper_pearson(float(hits.mean()) * effective, effective, confidence)


def _effective_size(hits: np.ndarray, index: np.ndarray, confidence: float) -> float:
    """Return the number of independent images that would tell as much."""
    images, groups = hits.size, int(index.max()) + 1
    rate = hits.mean()
    if groups == images:
        return float(images)
    if rate in (0.0, 1.0) or groups == 1:
        return float(groups)
    between = np.bincount(index, weights=hits - rate)
    effective = min(rate * (1.0 - rate) * images**2 / max((between**2).sum(), 1e-12), images)
    # Few groups give a poor variance: Student's quantiles pay for it.
    upper = 0.5 + confidence / 2.0
    pay = stats.t.ppf(upper, images - 1) / stats.t.ppf(upper, groups - 1)
    return float(max(effective * pay**2, 1.0))
