"""The decision on whole parts: the one that evaluation, prediction and programs all take."""

from typing import NamedTuple

import numpy as np

from defect_jax.decision.record import (
    REJECTS_NOTHING,
    DecisionRule,
    PartDecision,
    SequentialTest,
)
from defect_jax.decision.sequential import decide_shots
from defect_jax.decision.shots import SHOTS, Parts, Values
from defect_jax.decision.ways import rejects

# Where nothing could be chosen, as `choose.FALLBACK_THRESHOLD` of images: all shots, and a half.
UNDECIDED_PART = PartDecision("max", 0.5, 0, 0)
ALL_SHOTS = SequentialTest(REJECTS_NOTHING, -1.0, 0.0, 0.0)


class DecidedPart(NamedTuple):
    """What its shots say of a part."""

    group: str
    pictures: int
    score: float  # of all its shots together
    decision: int  # 1 = rejected by it
    sequential_decision: int  # 1 = rejected by the causal test
    shots: int  # that the causal test used


def decide_parts(parts: Parts, probability: Values, rule: DecisionRule) -> list[DecidedPart]:
    """Decide on each part, all shots together and one by one.

    Args:
        probability: of each image, by what decides.

    >>> from defect_jax.decision.shots import parts_of
    >>> parts = parts_of(["a", "b", "a"], ["a/1", "b/1", "a/2"], [0, 0, 0])
    >>> rule = DecisionRule(0.5, 0.5, 0.5, 7, 3, 1)
    >>> [tuple(part) for part in decide_parts(parts, [0.2, 0.3, 0.9], rule)]
    [('a', 2, 0.9, 1, 1, 2), ('b', 1, 0.3, 0, 0, 1)]
    """
    part, test = rule.part or UNDECIDED_PART, rule.sequential or ALL_SHOTS
    probability = np.asarray(probability, np.float64)
    decided = []
    for group, rows in zip(parts.group, parts.rows, strict=True):
        shots = probability[rows]
        whole = whole_score(shots, part)
        rejected = int(rejects(whole, part.threshold))
        decided.append(
            DecidedPart(group, len(rows), whole, rejected, *decide_shots(shots, part, test))
        )
    return decided


def whole_score(probability: np.ndarray, part: PartDecision) -> float:
    """Return the score of a part, of all its shots together."""
    return float(SHOTS[part.shots](probability)[-1])
