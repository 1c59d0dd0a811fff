"""How far a score could be elsewhere, had other parts been photographed: bootstrap over groups.

Groups are drawn with replacement, whole, because images of one part are near copies: drawn one by
one they would make every interval too narrow (Field and Welsh 2007). A replicate is a weight an
image: how often its group was drawn. All metrics are computed from weights, a block of replicates
at a time, so that nothing is sorted twice.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from defect_jax.metrics.intervals import Interval

Values = Sequence | np.ndarray  # of numbers, one an image
REPLICATES = 1000
SEED = 0  # fixed: the same images give the same interval
TAILS = (0.025, 0.975)
BLOCK_VALUES = 4_000_000  # replicates times images at once: 32 MB a temporary array
GRID = np.linspace(0.0, 1.0, 101)

Weights = Float[np.ndarray, "replicates images"]
Metric = Callable[[Weights], Float[np.ndarray, " replicates"]]


class CurveBands(NamedTuple):
    """Pointwise 95 % bands; precision is bounded over `recall`, recall over the other grid."""

    recall: np.ndarray
    precision_low: np.ndarray
    precision_high: np.ndarray
    false_positive_rate: np.ndarray
    recall_low: np.ndarray
    recall_high: np.ndarray


def interval(metric: Metric, groups: Sequence[str]) -> Interval | None:
    """Return the middle 95 % of `metric` over the replicates; None if hardly any of them defines
    it.

    Args:
        metric: weights of all images, a replicate a row -> one value a replicate, NaN where it is
            not defined.
        groups: the part that each image shows.

    >>> hits = np.array([1.0, 1.0, 0.0, 1.0])
    >>> interval(weighted_mean(hits), ["a", "b", "c", "d"])
    (0.25, 1.0)
    """
    values = np.concatenate([metric(weights) for weights in replicates(groups)])
    return _middle(values)


def difference_interval(metrics: tuple[Metric, Metric], groups: Sequence[str]) -> Interval | None:
    """Return the same of the second metric less the first, both on the same drawn parts
    (paired)."""
    first, second = metrics
    values = [second(weights) - first(weights) for weights in replicates(groups)]
    return _middle(np.concatenate(values))


def replicates(groups: Sequence[str]) -> Iterator[Weights]:
    """Yield weights of the images, in blocks of replicates; the same for the same groups."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    generator = np.random.default_rng(SEED)
    left, block = REPLICATES, max(1, BLOCK_VALUES // max(index.size, 1))
    even = np.full(len(names), 1.0 / max(len(names), 1))
    while left and len(names):
        drawn = generator.multinomial(len(names), even, size=min(block, left))
        yield drawn[:, index].astype(np.float64)
        left -= min(block, left)


def weighted_mean(values: Values) -> Metric:
    """Return the mean of `values`, one an image; NaN values are left out of it."""
    values = np.asarray(values, np.float64)
    counted = np.isfinite(values)

    def metric(weights: Weights) -> np.ndarray:
        return _ratio(weights @ np.where(counted, values, 0.0), weights @ counted)

    return metric


def average_precision(label: Values, score: Values) -> Metric:
    """Return the step-wise AP, as `ranking.average_precision`."""
    sweep = _Sweep(label, score)

    def metric(weights: Weights) -> np.ndarray:
        true, false = sweep(weights)
        found = np.diff(true, prepend=0.0, axis=1)
        precision = _ratio(true, true + false, undefined=0.0)
        return _ratio((found * precision).sum(axis=1), true[:, -1])

    return metric


def auroc(label: Values, score: Values) -> Metric:
    """Return the chance that a defective image scores higher, as `ranking.auroc`."""
    sweep = _Sweep(label, score)

    def metric(weights: Weights) -> np.ndarray:
        true, false = sweep(weights)
        before = np.concatenate([np.zeros_like(true[:, :1]), true[:, :-1]], axis=1)
        area = (np.diff(false, prepend=0.0, axis=1) * (true + before) / 2.0).sum(axis=1)
        return _ratio(area, true[:, -1] * false[:, -1])

    return metric


def curve_bands(label: Values, score: Values, groups: Sequence[str]) -> CurveBands | None:
    """Return bands of both curves; None unless there are both kinds of image."""
    label = np.asarray(label)
    if not 0 < label.sum() < label.size:
        return None
    sweep = _Sweep(label, score)
    precision, recall = [], []
    for weights in replicates(groups):
        true, false = sweep(weights)
        for found, alarms in zip(true, false, strict=True):
            if found[-1] and alarms[-1]:
                precision.append(_precision_at(found, alarms))
                recall.append(_recall_at(found, alarms))
    if not precision:
        return None
    precision_low, precision_high = np.quantile(precision, TAILS, axis=0)
    recall_low, recall_high = np.quantile(recall, TAILS, axis=0)
    return CurveBands(GRID, precision_low, precision_high, GRID, recall_low, recall_high)


class _Sweep:
    """Weights of the defective and the good images at or above each distinct score, falling."""

    def __init__(self, label: Values, score: Values):
        score = np.asarray(score, np.float64)
        self._order = np.argsort(-score, kind="stable")
        self._label = np.asarray(label, np.float64)[self._order]
        self._last = np.flatnonzero(np.append(np.diff(score[self._order]) != 0, True))

    def __call__(self, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
        ordered = weights[:, self._order]
        true = np.cumsum(ordered * self._label, axis=1)[:, self._last]
        return true, np.cumsum(ordered, axis=1)[:, self._last] - true


def _precision_at(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Return the precision where the recall of the grid is first reached."""
    at = np.searchsorted(true / true[-1], GRID - 1e-12).clip(max=true.size - 1)
    at = np.maximum(at, np.flatnonzero(true + false)[0])
    return true[at] / (true[at] + false[at])


def _recall_at(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Return the highest recall whose false-positive rate stays within the grid's."""
    at = np.searchsorted(false / false[-1], GRID + 1e-12, side="right") - 1
    return np.where(at >= 0, true[at.clip(min=0)], 0.0) / true[-1]


def _ratio(part: np.ndarray, whole: np.ndarray, undefined: float = np.nan) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), undefined), where=whole > 0)


def _middle(values: np.ndarray) -> Interval | None:
    """Return quantiles of the defined values; too few of them would only speak of lucky draws."""
    defined = values[np.isfinite(values)]
    if defined.size < 0.9 * REPLICATES:
        return None
    low, high = np.quantile(defined, TAILS)
    return float(low), float(high)
