"""A miss rate that one can sign: an exact binomial bound over parts.

If the threshold is at the (k+1)-th lowest score of n defective parts, the chance that it misses
more than a share `miss_rate` of all defective parts is P(Bin(n, miss_rate) <= k) for scores without
ties, and less with them (Wilks 1941, tolerance limits; the same k as Clopper and Pearson's upper
bound). It holds for any network and any distribution of scores, as long as the parts to come are
like the parts it was chosen on (exchangeable), and were not used for anything else.
"""

import math

from scipy import stats


def allowed_misses(parts: int, miss_rate: float, confidence: float) -> int | None:
    """Return the most defective parts that may be below the threshold; None when there are too few
    parts.

    >>> allowed_misses(22, 0.1, 0.9), allowed_misses(60, 0.1, 0.9), allowed_misses(21, 0.1, 0.9)
    (0, 2, None)
    """
    broken = 1.0 - confidence
    if stats.binom.cdf(0, parts, miss_rate) > broken:
        return None
    misses = int(stats.binom.ppf(broken, parts, miss_rate))  # the least k with P(X <= k) >= broken
    return misses if stats.binom.cdf(misses, parts, miss_rate) <= broken else misses - 1


def parts_needed(miss_rate: float, confidence: float) -> int:
    """Return the fewest defective parts that allow the promise, with no miss among them.

    >>> parts_needed(0.1, 0.9), parts_needed(0.01, 0.95)
    (22, 299)
    """
    return math.ceil(math.log(1.0 - confidence) / math.log1p(-miss_rate) - 1e-9)


def breaking_chance(parts: int, misses: int, miss_rate: float) -> float:
    """Return the chance that a threshold with so many misses among so many parts breaks the
    promise.

    >>> round(breaking_chance(60, 2, 0.1), 4)
    0.053
    """
    return float(stats.binom.cdf(misses, parts, miss_rate))
