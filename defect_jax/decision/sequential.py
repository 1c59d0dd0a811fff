"""A causal decision over the shots of a part, as they come: reject, accept, or look again.

After each shot a running score of the shots so far is compared with two bounds, as in Wald's
sequential test (1945), and after the last one the threshold of the whole part decides. Which score
and which bounds is chosen in one of two ways: `empirical`, the part's own score with bounds taken
from validation parts, or `wald`, the evidence of the shots with bounds of promised rates.

A line camera's strips of a part are shots in order, and are decided by the same functions.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from defect_jax.decision.correlation import ALIKE
from defect_jax.decision.evidence import running_evidence
from defect_jax.decision.record import PartDecision, SequentialTest
from defect_jax.decision.shots import SHOTS
from defect_jax.decision.ways import rejects

LOOK_AGAIN, ACCEPT, REJECT = -1, 0, 1


class Looked(NamedTuple):
    """The shots of a part so far."""

    score: tuple[float, ...] = ()


def look(looked: Looked, score: float, shots: str, test: SequentialTest) -> tuple[Looked, int]:
    """Add a shot and say REJECT, ACCEPT or LOOK_AGAIN.

    Args:
        looked: `Looked()` before the first shot of a part.
        score: of the new shot.
        shots: how shots are taken together, `PartDecision.shots`.
        test: the bounds.

    >>> test = SequentialTest(upper=0.8, lower=0.3, expected_shots=2.0, shots=6.0)
    >>> looked, verdict = look(Looked(), 0.5, "mean", test)
    >>> verdict == LOOK_AGAIN
    True
    >>> look(looked, 0.05, "mean", test)[1] == ACCEPT
    True
    """
    looked = Looked((*looked.score, float(score)))
    return looked, _verdict(float(compared(np.array(looked.score), shots, test)[-1]), test)


def compared(score: np.ndarray, shots: str, test: SequentialTest) -> np.ndarray:
    """Return what is compared with the bounds after the first 1, 2, … shots."""
    if test.evidence is None:
        return SHOTS[shots](score)
    known = ALIKE if test.correlation is None else test.correlation
    return running_evidence(score, test.evidence, known)


def decide_shots(score: np.ndarray, part: PartDecision, test: SequentialTest) -> tuple[int, int]:
    """Return the decision on a part and the number of shots used.

    Args:
        score: probability of each shot, in order.
        part: how those are decided that no bound decides.

    >>> test = SequentialTest(upper=0.8, lower=0.3, expected_shots=2.0, shots=6.0)
    >>> one, two = np.array([0.5, 0.9, 0.2]), np.array([0.5, 0.6])
    >>> decide_shots(one, PartDecision("max", 0.5, 9, 5), test)
    (1, 2)
    >>> decide_shots(two, PartDecision("max", 0.7, 9, 5), test)
    (0, 2)
    """
    for looks, running in enumerate(compared(score, part.shots, test), 1):
        verdict = _verdict(running, test)
        if verdict != LOOK_AGAIN:
            return verdict, looks
    return int(rejects(SHOTS[part.shots](score)[-1], part.threshold)), len(score)


def mean_looks(
    test: SequentialTest, score: Sequence[np.ndarray], part: PartDecision
) -> SequentialTest:
    """Return the test with the shots that it takes of these parts, as `expected_shots`."""
    looks = [decide_shots(shots, part, test)[1] for shots in score]
    return dataclasses.replace(test, expected_shots=float(np.mean(looks)))


def _verdict(score: float, test: SequentialTest) -> int:
    if rejects(score, test.upper):  # what is no number too: it would be looked at for ever
        return REJECT
    return ACCEPT if score <= test.lower else LOOK_AGAIN
