"""How alike the shots of one part are, and how many independent ones they are worth.

Shots of a part share its surface, its pose and its light. With the correlation rho between any two
of them, n shots tell the mean as well as n / (1 + (n - 1) rho) independent ones: Kish's design
effect (1965). Of a line camera's strips neighbours are the most alike; their correlation in the
same formula counts too few effective shots, never too many.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

ALIKE = 1.0  # the correlation where nothing is known of it: no second shot adds anything
CONFIDENCE = 0.95  # that the correlation is not higher than it is said to be


def effective_shots(shots: np.ndarray | float, correlation: float) -> np.ndarray | float:
    """Return the number of independent shots that tell as much (Kish 1965).

    >>> effective_shots(6.0, 0.0), effective_shots(6.0, 0.2), effective_shots(6.0, 1.0)
    (6.0, 3.0, 1.0)
    """
    return shots / (1.0 + (shots - 1.0) * correlation)


def shot_correlation(label: np.ndarray, logits: Sequence[np.ndarray]) -> float:
    """Return a correlation that shots of one part seldom exceed, from 0 to `ALIKE`.

    It is the highest of four upper bounds (`upper_bound`): in good parts and in defective ones, of
    neighbouring shots and of any two.

    Args:
        label: 1 for each defective part.
        logits: of the shots of each part, in order.
    """
    bounds = [0.0]
    for truth in (0, 1):
        of_kind = [shots for shots, kind in zip(logits, label, strict=True) if kind == truth]
        if not of_kind:
            return ALIKE
        centre = np.concatenate(of_kind).mean()
        for pairs in (_neighbours, _any_two):
            bounds.append(upper_bound([pairs(shots - centre) for shots in of_kind]))
    return min(max(bounds), ALIKE)


def upper_bound(pairs: Sequence[tuple[float, float]], confidence: float = CONFIDENCE) -> float:
    """Return the upper confidence bound of a correlation; `ALIKE` where there are too few parts.

    It is the ratio of two sums over parts, with the variance of a ratio between clusters (Cochran
    1977, 6.4) and Student's quantile.

    Args:
        pairs: of each part the sum of products of deviations, and that of their squares.

    >>> upper_bound([(1.0, 2.0), (1.0, 2.0), (1.0, 2.0)])  # no part differs from another
    0.5
    >>> round(upper_bound([(0.0, 2.0), (1.0, 2.0), (2.0, 2.0)]), 3)
    1.343
    """
    products, squares = np.array(pairs, np.float64).reshape(-1, 2).T
    seen = squares > 0
    parts = int(seen.sum())
    if parts < 2:
        return ALIKE
    correlation = products.sum() / squares.sum()
    left = (products - correlation * squares)[seen]
    deviation = np.sqrt((left**2).sum() * parts / (parts - 1)) / squares.sum()
    return float(correlation + stats.t.ppf(confidence, parts - 1) * deviation)


def _neighbours(deviations: np.ndarray) -> tuple[float, float]:
    """Return the sum of products over neighbouring shots, and that of their mean squares."""
    before, after = deviations[:-1], deviations[1:]
    return float(before @ after), float(before @ before + after @ after) / 2.0


def _any_two(deviations: np.ndarray) -> tuple[float, float]:
    """Return the same over all pairs of shots."""
    squares, pairs = float(deviations @ deviations), deviations.size - 1
    return float(deviations.sum() ** 2 - squares) / 2.0, squares * pairs / 2.0
