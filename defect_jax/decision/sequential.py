"""A causal decision over the shots of a part, as they come: reject, accept, or look again.

After each shot the score of the shots so far is compared with two bounds, as in Wald's sequential
test (1945), and after the last one with the threshold of the whole part. Wald's own bounds hold for
independent looks with known likelihoods; shots of one part are neither. So the bounds are those
that save most looks on validation parts without one more miss or false alarm there than all shots
give.

A line camera's strips of a part are shots in order, and are decided by the same functions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from defect_jax.decision.record import REJECTS_NOTHING, SequentialTest
from defect_jax.decision.shots import SHOTS
from defect_jax.decision.ways import rejects

LOOK_AGAIN, ACCEPT, REJECT = -1, 0, 1
NEVER_ACCEPTS = -1.0
CANDIDATES = 64  # bounds tried of each kind, quantiles of the scores seen


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
    return looked, _verdict(float(SHOTS[shots](np.array(looked.score))[-1]), test)


def decide_shots(running: np.ndarray, threshold: float, test: SequentialTest) -> tuple[int, int]:
    """Return the decision on a part and the number of shots used.

    Args:
        running: score after each shot, `shots.running_scores`.
        threshold: of the whole part, for those that no bound decides.

    >>> test = SequentialTest(upper=0.8, lower=0.3, expected_shots=2.0, shots=6.0)
    >>> one, two = np.array([0.5, 0.9, 0.2]), np.array([0.5, 0.6])
    >>> decide_shots(one, 0.5, test), decide_shots(two, 0.7, test)
    ((1, 2), (0, 2))
    """
    for looks, score in enumerate(running, 1):
        verdict = _verdict(score, test)
        if verdict != LOOK_AGAIN:
            return verdict, looks
    return int(rejects(running[-1], threshold)), len(running)


def choose_test(
    label: np.ndarray, running: Sequence[np.ndarray], threshold: float, may_accept: bool
) -> SequentialTest:
    """Return the bounds with the fewest looks and no more misses or false alarms than all shots
    give.

    Args:
        label: of each part.
        running: scores of each part, shot by shot.
        threshold: of the whole part.
        may_accept: False where a promised miss rate must hold: accepting early could break it,
            rejecting early cannot.
    """
    padded, lengths = _padded(running)
    full = padded[:, -1] >= threshold
    misses, alarms = (full < label).sum(), (full > label).sum()
    seen = np.concatenate(list(running))
    if padded.shape[1] == 1:  # nothing to save
        return SequentialTest(REJECTS_NOTHING, NEVER_ACCEPTS, 1.0, 1.0)
    best = None
    for upper in _candidates(seen[seen >= threshold], REJECTS_NOTHING):
        for lower in _candidates(seen[seen < threshold] if may_accept else seen[:0], NEVER_ACCEPTS):
            rejected, looks = _decide_all(padded, lengths, threshold, upper, lower)
            if (rejected < label).sum() > misses or (rejected > label).sum() > alarms:
                continue
            # Of equal cost the cautious bounds, which new parts will reach less often by chance.
            cost = (looks.sum(), -upper, lower)
            if best is None or cost < best[0]:
                best = (cost, (upper, lower, looks.mean(), lengths.mean()))
    return SequentialTest(*(float(value) for value in best[1]))


def _verdict(score: float, test: SequentialTest) -> int:
    if rejects(score, test.upper):  # what is no number too: it would be looked at for ever
        return REJECT
    return ACCEPT if score <= test.lower else LOOK_AGAIN


def _candidates(seen: np.ndarray, never: float) -> np.ndarray:
    """Return scores that occurred, thinned out, and the bound that is never reached."""
    values = np.unique(seen)
    if values.size > CANDIDATES:
        values = np.unique(np.quantile(values, np.linspace(0, 1, CANDIDATES), method="nearest"))
    return np.append(values, never)


def _padded(running: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return parts by shots, the last score repeated, and the number of shots of each part."""
    lengths = np.array([len(scores) for scores in running])
    padded = [np.pad(scores, (0, lengths.max() - len(scores)), "edge") for scores in running]
    return np.array(padded), lengths


def _decide_all(
    padded: np.ndarray, lengths: np.ndarray, threshold: float, upper: float, lower: float
) -> tuple[np.ndarray, np.ndarray]:
    """Run `decide_shots` for all parts at once."""
    stops = (padded >= upper) | (padded <= lower)
    stopped = stops.any(axis=1)
    first = np.where(stopped, stops.argmax(axis=1), padded.shape[1] - 1)
    last_seen = padded[np.arange(len(padded)), first]
    rejected = np.where(stopped, last_seen >= upper, last_seen >= threshold)
    return rejected, np.minimum(first + 1, lengths)
