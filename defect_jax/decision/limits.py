"""How many misses and false alarms a decision allows, and whether a disturbance goes beyond.

A rule that names a rate promises it, or aims at it: that rate is the limit. What a rule does not
name is limited by what the same images leave possible without a disturbance: the upper end of its
95 % interval. So it is with a promise that the images break as they are, since nothing could be
told of disturbances by it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from defect_jax.decision.record import DecisionRule
from defect_jax.decision.rules import CLOSE, PROMISES, Options
from defect_jax.metrics.stress import ErrorRates, Rate

# What a disturbance does to a rate: nothing that can be told; it is worse than without, but within
# its limit; it is beyond its limit; so is all of its 95 % interval.
HOLDS, WORSE, BROKEN, REFUTED = "holds", "worse", "broken", "refuted"
UNKNOWN = "unknown"  # nothing was counted
BEYOND = (BROKEN, REFUTED)
Named = tuple[float | None, float | None]  # of misses, of false alarms
# Rule -> the rates that it names.
NAMED: dict[str, Callable[[Options], Named]] = {
    PROMISES: lambda options: (options["miss_rate"], None),
    "target_recall": lambda options: (1.0 - options["recall"], None),
    "target_false_positive_rate": lambda options: (None, options["false_positive_rate"]),
}


class Limit(NamedTuple):
    """What a rate may be.

    Attributes:
        rate: the most; None where there is nothing to count.
        named: what the rule names; None where it names nothing.
        kept: whether the images keep within `named` without a disturbance.
    """

    rate: float | None
    named: float | None
    kept: bool


class Limits(NamedTuple):
    """Those of both kinds of mistake."""

    misses: Limit
    alarms: Limit


class JudgedGrade(NamedTuple):
    """What one grade of a disturbance does.

    Attributes:
        grade: in the unit of its kind.
        rates: of what is decided on, parts or images.
        of_images: the same of images.
        misses, alarms: HOLDS, WORSE, BROKEN, REFUTED or UNKNOWN.
        left_out: images that were not counted, since their defect has left the frame.
    """

    grade: float
    rates: ErrorRates
    of_images: ErrorRates
    misses: str
    alarms: str
    left_out: int

    @property
    def stands(self) -> bool:
        """Return whether neither rate is worse or beyond its limit."""
        return not {self.misses, self.alarms} & {WORSE, *BEYOND}


def limits_of(rule: DecisionRule, undisturbed: ErrorRates) -> Limits:
    """Return the limits of a decision.

    Args:
        undisturbed: what it does on the same images as they are.

    >>> rates = ErrorRates(Rate(3, 60, 0.0104, 0.1392), Rate(2, 50, 0.0049, 0.1371))
    >>> options = {"miss_rate": 0.1}
    >>> rule = DecisionRule(0.5, 0.5, 0.5, 1, 9, 5, rule="guaranteed_miss_rate", options=options)
    >>> [limit.rate for limit in limits_of(rule, rates)]
    [0.1, 0.1371]
    """
    # A note says that the rule could not be applied: then it names nothing.
    names = NAMED.get(rule.rule) if not rule.note else None
    named = names(rule.options) if names else (None, None)
    return Limits(*map(_limit, named, undisturbed))


def _limit(named: float | None, undisturbed: Rate) -> Limit:
    kept = named is None or not _beyond(undisturbed.share, named)
    return Limit(undisturbed.high if named is None or not kept else named, named, kept)


def standing(rate: Rate, limit: Limit, worse: bool) -> str:
    """Return what is to be said of a measured rate.

    Args:
        worse: whether it is worse than without a disturbance, `metrics.stress.got_worse`.

    >>> limit = Limit(0.1, 0.1, True)
    >>> found = Rate(5, 60, 0.0276, 0.1839), Rate(9, 60, 0.071, 0.2657), Rate(20, 60, 0.217, 0.467)
    >>> [standing(rate, limit, worse=True) for rate in found]
    ['worse', 'broken', 'refuted']
    """
    if rate.share is None or limit.rate is None:
        return UNKNOWN
    if not _beyond(rate.share, limit.rate):
        return WORSE if worse else HOLDS
    return REFUTED if _beyond(rate.low, limit.rate) else BROKEN


def _beyond(share: float | None, rate: float) -> bool:
    return share is not None and share > rate + CLOSE


def first_at(grades: Sequence[JudgedGrade], mistake: str, *standings: str) -> float | None:
    """Return the gentlest grade at which a kind of mistake has one of these standings.

    Args:
        grades: from gentle to strong.
        mistake: a field of `JudgedGrade`: misses or alarms.
    """
    return next((g.grade for g in grades if getattr(g, mistake) in standings), None)


def stands_to(grades: Sequence[JudgedGrade]) -> float | None:
    """Return the strongest grade up to which all stand; None where the gentlest does not.

    >>> none = ErrorRates(Rate(0, 9, 0.0, 0.3), Rate(0, 9, 0.0, 0.3))
    >>> standings = {1.0: HOLDS, 2.0: WORSE, 3.0: HOLDS}
    >>> found = [JudgedGrade(grade, none, none, s, HOLDS, 0) for grade, s in standings.items()]
    >>> stands_to(found), stands_to(found[1:])
    (1.0, None)
    """
    stood = None
    for judged in grades:
        if not judged.stands:
            break
        stood = judged.grade
    return stood
