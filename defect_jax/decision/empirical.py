"""Bounds of the causal test taken from validation parts, with nothing assumed of their shots.

They are those that save most looks there without one more miss or false alarm than all shots give.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from defect_jax.decision.correlation import effective_shots, shot_correlation
from defect_jax.decision.record import REJECTS_NOTHING, PartDecision, SequentialTest
from defect_jax.decision.rules import Options
from defect_jax.decision.shots import SHOTS
from defect_jax.metrics.calibration import logit

NEVER_ACCEPTS = -1.0
CANDIDATES = 64  # bounds tried of each kind, quantiles of the scores seen


def choose_empirical(
    label: np.ndarray,
    score: Sequence[np.ndarray],
    part: PartDecision,
    options: Options,
    may_accept: bool,
) -> SequentialTest:
    """Return the bounds with the fewest looks and no more misses or false alarms than all shots
    give.

    Args:
        label: of each part.
        score: probabilities of the shots of each part, in order.
        part: how the whole part is decided.
        options: `config.decision`; nothing of it is read.
        may_accept: False where a promised miss rate must hold: accepting early could break it,
            rejecting early cannot.
    """
    del options
    test = _best_bounds(label, [SHOTS[part.shots](s) for s in score], part.threshold, may_accept)
    correlation = shot_correlation(label, [logit(shots) for shots in score])
    return dataclasses.replace(
        test,
        correlation=correlation,
        effective_shots=float(effective_shots(test.shots, correlation)),
    )


def _best_bounds(
    label: np.ndarray, running: Sequence[np.ndarray], threshold: float, may_accept: bool
) -> SequentialTest:
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
