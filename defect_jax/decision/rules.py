"""The rules by which a threshold is chosen; each is a function of validation labels and scores.

A rule returns the threshold from which on to reject. Between the score it must still reject and the
next lower one there is room: the threshold is in its middle, so that neither is decided by a
rounding. The promise of a miss rate takes no such liberty and is at the score itself.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from defect_jax.decision.bound import allowed_misses, parts_needed
from defect_jax.decision.record import REJECTS_NOTHING, Promise
from defect_jax.metrics import ranking
from defect_jax.runtime.errors import UserError

CLOSE = 1e-12  # rates that differ by less differ by rounding alone


Options = Mapping  # config.decision
Rate = np.ndarray | float


class LabelledScores(NamedTuple):
    """What a threshold is chosen from, one entry an image (or a part)."""

    label: np.ndarray  # 1 = defective
    score: np.ndarray
    group: np.ndarray  # of the part that the image shows


class Chosen(NamedTuple):
    """A threshold, and the promise that comes with it, if any."""

    threshold: float
    promise: Promise | None = None


class Rates(NamedTuple):
    """What a decision does on validation images; arrays of what several do."""

    f1: Rate
    recall: Rate
    false_positive_rate: Rate


def best_f1(scored: LabelledScores, options: Options, compared: int) -> Chosen:
    """Return the best F1; of equal F1 the higher recall."""
    return Chosen(ranking.best_f1_threshold(scored.label, scored.score))


def target_recall(scored: LabelledScores, options: Options, compared: int) -> Chosen:
    """Return the fewest false alarms with at least `options.recall` of the defective images
    rejected."""
    curve = ranking.roc_curve(scored.label, scored.score)
    return _between(curve, int(np.argmax(curve.recall >= options["recall"] - CLOSE)))


def target_false_positive_rate(scored: LabelledScores, options: Options, compared: int) -> Chosen:
    """Return the fewest misses with at most `options.false_positive_rate` of the good ones
    rejected."""
    curve = ranking.roc_curve(scored.label, scored.score)
    within = curve.false_positive_rate <= options["false_positive_rate"] + CLOSE
    return _between(curve, int(np.flatnonzero(within)[-1]))


def least_cost(scored: LabelledScores, options: Options, compared: int) -> Chosen:
    """Return the least expected cost of an image in production; of equal cost the higher recall."""
    curve = ranking.roc_curve(scored.label, scored.score)
    cost = expected_cost(options, curve.recall, curve.false_positive_rate)
    return _between(curve, int(np.flatnonzero(cost <= cost.min() + CLOSE)[-1]))


def guaranteed_miss_rate(scored: LabelledScores, options: Options, compared: int) -> Chosen:
    """Return the fewest false alarms with a promised miss rate of parts (`bound`).

    A part counts as missed when any of its defective images is accepted, so its lowest defective
    score stands for it: images of one part are no independent witnesses. What was chosen on the
    same parts before shares the confidence (Bonferroni).

    Raises:
        UserError: too few defective parts for the promise.
    """
    lowest = lowest_of_parts(scored)
    miss_rate, confidence = options["miss_rate"], options["confidence"]
    shared = 1.0 - (1.0 - confidence) / compared
    misses = allowed_misses(len(lowest), miss_rate, shared)
    if misses is None:
        raise UserError(too_few(len(lowest), miss_rate, confidence, compared))
    promise = Promise(miss_rate, confidence, len(lowest), misses, compared)
    return Chosen(float(np.sort(lowest)[misses]), promise)


class Rule(NamedTuple):
    """A rule, and what it would have small, to compare what it makes of different scores.

    Attributes:
        choose: a threshold.
        loss: on the images that it was chosen on, where every choice keeps the rule's bound.
        held_out: on others, where it may not: misses and false alarms both count then.
    """

    choose: Callable[[LabelledScores, Options, int], Chosen]
    loss: Callable[[Options, Rates], tuple[float, ...]]
    held_out: Callable[[Options, Rates], Rate]


def _alarms_then_misses(options: Options, rates: Rates) -> tuple[float, ...]:
    return rates.false_positive_rate, -rates.recall


def _misses_then_alarms(options: Options, rates: Rates) -> tuple[float, ...]:
    return -rates.recall, rates.false_positive_rate


def _cost(options: Options, rates: Rates) -> tuple[float, ...]:
    return (float(expected_cost(options, rates.recall, rates.false_positive_rate)),)


def _mean_rate(options: Options, rates: Rates) -> Rate:
    return (1.0 - rates.recall + rates.false_positive_rate) / 2.0


PROMISES = "guaranteed_miss_rate"
RULES = {
    "best_f1": Rule(
        best_f1,
        lambda options, rates: (-rates.f1, -rates.recall),
        lambda options, rates: 1.0 - rates.f1,
    ),
    "target_recall": Rule(target_recall, _alarms_then_misses, _mean_rate),
    "target_false_positive_rate": Rule(target_false_positive_rate, _misses_then_alarms, _mean_rate),
    "least_cost": Rule(
        least_cost,
        _cost,
        lambda options, rates: expected_cost(options, rates.recall, rates.false_positive_rate),
    ),
    PROMISES: Rule(guaranteed_miss_rate, _alarms_then_misses, _mean_rate),
}


def expected_cost(options: Options, recall: Rate, alarms: Rate) -> Rate:
    """Return the cost of one image in production, where a share `options.defect_rate` is defective.

    >>> options = {"defect_rate": 0.01, "miss_cost": 100.0, "false_alarm_cost": 1.0}
    >>> round(float(expected_cost(options, 0.9, 0.05)), 4)
    0.1495
    """
    rate = options["defect_rate"]
    missed = rate * options["miss_cost"] * (1.0 - recall)
    return missed + (1.0 - rate) * options["false_alarm_cost"] * alarms


def rates(label: np.ndarray, rejected: np.ndarray) -> Rates:
    """Return F1, recall and false-positive rate of a decision on both kinds of image."""
    found = int((rejected & (label == 1)).sum())
    alarms, defective = int(rejected.sum()) - found, int(label.sum())
    f1 = 2.0 * found / (found + alarms + defective)
    return Rates(f1, found / defective, alarms / (label.size - defective))


def lowest_of_parts(scored: LabelledScores) -> np.ndarray:
    """Return the lowest score among the defective images of each defective part."""
    defective = scored.label == 1
    index = np.unique(scored.group[defective], return_inverse=True)[1]
    lowest = np.full(index.max(initial=-1) + 1, np.inf)
    np.minimum.at(lowest, index, scored.score[defective])
    return lowest


def too_few(
    parts: int,
    miss_rate: float,
    confidence: float,
    compared: int,
    where: str = "the validation split, which has",
) -> str:
    """Return one line for a promise that cannot be made, and what would mend it."""
    broken = (1.0 - confidence) / compared
    needed = parts_needed(miss_rate, 1.0 - broken)
    possible = possible_miss_rate(parts, confidence, compared)
    why = f" shared among {compared} choices on the same parts" if compared > 1 else ""
    return (
        f"config.decision.rule=guaranteed_miss_rate: a miss rate of {miss_rate:g} with confidence "
        f"{confidence:g}{why} needs {needed} defective parts in {where} "
        f"{parts}: add parts, or ask for config.decision.miss_rate={possible:g}"
    )


def possible_miss_rate(parts: int, confidence: float, compared: int) -> float:
    """Return the least miss rate that so many defective parts can promise, in steps of 0.001.

    Where none of them is missed, a miss rate of p is refuted with confidence 1 - (1 - p)^parts.

    >>> possible_miss_rate(22, 0.9, 1), possible_miss_rate(17, 0.9, 1)
    (0.1, 0.127)
    """
    broken = (1.0 - confidence) / compared
    return math.ceil(1000 * (1.0 - broken ** (1.0 / parts))) / 1000 if parts else 1.0


def _between(curve: ranking.Roc, at: int) -> Chosen:
    """Return the middle between the lowest score that is rejected and the next lower one."""
    if at == 0:
        top = curve.threshold[1]
        return Chosen(top + (1.0 - top) / 2.0 if top < 1.0 else REJECTS_NOTHING)
    upper, lower = np.append(curve.threshold, 0.0)[at : at + 2]
    middle = lower + (upper - lower) / 2.0
    return Chosen(float(middle if middle > lower else upper))
