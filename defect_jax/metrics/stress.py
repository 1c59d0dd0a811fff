"""Misses and false alarms of one pass over a split, with intervals, and against another pass."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from defect_jax.metrics.images import ImageRow
from defect_jax.metrics.intervals import Values, rate_interval

CHANCE = 0.1  # of calling worse what is not: a warning in vain costs less here than none
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


def got_worse(before: Sequence[ImageRow], now: Sequence[ImageRow], label: int) -> bool:
    """Return whether images of one kind are decided worse than before, by more than chance.

    The exact sign test over parts (Arbuthnott 1710; for one image a part McNemar's): in how many
    more of its images are decided wrongly, and in how many fewer, of which either is as likely
    where nothing has changed. Parts, not images: those of one part go wrong together.

    Args:
        before, now: two passes over the same images; of `before` those of `now` count.
        label: 1: misses; 0: false alarms.

    >>> then = [ImageRow(f"{n}", f"{n}", 1, 0.9, 0.9, 1, 1, 0.5, 8, 8, 8, 0.9, 1) for n in range(9)]
    >>> now = [row._replace(rejected=int(number > 3)) for number, row in enumerate(then)]
    >>> got_worse(then, now, 1), got_worse(then[1:], now[1:], 1)  # 1/16 and 1/8
    (True, False)
    """
    wrong_before = {row.id: row.rejected != row.label for row in before}
    more: Counter[str] = Counter()
    for row in now:
        if row.label == label:
            more[row.group] += (row.rejected != row.label) - wrong_before[row.id]
    worse = sum(change > 0 for change in more.values())
    changed = sum(change != 0 for change in more.values())
    return changed > 0 and bool(stats.binom.sf(worse - 1, changed, 0.5) <= CHANCE)
