"""Misses and false alarms of one pass over a split, each with its interval."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from defect_jax.metrics.images import ImageRow
from defect_jax.metrics.intervals import Values, rate_interval

LEAST_IN_VIEW = 0.25  # of a defect's pixels; of less, nobody would say that it must be found


class Rate(NamedTuple):
    """How many of some images or parts were decided wrongly, with the 95 % interval of the rate."""

    count: int
    of: int
    low: float | None  # None where there is none of them
    high: float | None

    @property
    def share(self) -> float | None:
        """Return the rate; None where there is nothing to count.

        >>> Rate(1, 4, 0.0063, 0.8059).share
        0.25
        """
        return self.count / self.of if self.of else None


class ErrorRates(NamedTuple):
    """Defective ones that were accepted, and good ones that were rejected."""

    misses: Rate
    alarms: Rate


def error_rates(label: Values, rejected: Values, group: Sequence[str]) -> ErrorRates:
    """Count both kinds of mistake; intervals are those of `intervals.rate_interval`.

    Args:
        label: 1 = defective, of each image or part.
        rejected: 1 = rejected.
        group: the part that it shows.

    >>> found = error_rates([1, 1, 0, 0], [1, 0, 0, 0], ["a", "b", "c", "d"])
    >>> found.misses.count, found.misses.of, round(found.misses.high, 4), found.alarms.share
    (1, 2, 0.9874, 0.0)
    """
    label, wrong = np.asarray(label), np.asarray(label) != np.asarray(rejected)
    return ErrorRates(*(_rate(wrong, label == truth, group) for truth in (1, 0)))


def _rate(wrong: np.ndarray, inside: np.ndarray, group: Sequence[str]) -> Rate:
    hits = wrong[inside]
    interval = rate_interval(hits, np.asarray(group)[inside].tolist())
    return Rate(int(hits.sum()), hits.size, *(interval or (None, None)))


def in_view(before: Sequence[ImageRow], now: Sequence[ImageRow]) -> list[ImageRow]:
    """Return the images of a pass without those whose defect has left the frame.

    Args:
        before: of the pass without a disturbance.
        now: of the pass, in the same order.

    >>> row = ImageRow("a", "a", 1, 0.9, 0.9, 1, 1, 0.5, 8, 8, 8, 0.9, 1)
    >>> [len(in_view([row], [row._replace(true_px=px)])) for px in (8, 2, 1)]
    [1, 1, 0]
    """
    pairs = zip(before, now, strict=True)
    return [row for then, row in pairs if row.true_px >= LEAST_IN_VIEW * then.true_px]
