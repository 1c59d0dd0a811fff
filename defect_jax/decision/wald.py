"""Wald's sequential probability ratio test (1945), for shots that are not independent.

The evidence of the shots so far (`evidence`) rejects from log((1 - miss) / alarm) on and accepts up
to log(miss / (1 - alarm)). Of good parts it rejects at most about `alarm`, of defective ones it
accepts at most about `miss`, as far as shots are what `evidence` takes them for. What it has not
decided when no shot is left goes by the threshold of the whole part, whose mistakes come on top.
"""

import math
from collections.abc import Sequence

import numpy as np

from defect_jax.decision.correlation import effective_shots, shot_correlation
from defect_jax.decision.evidence import NOTHING, fit
from defect_jax.decision.record import NO_EVIDENCE_ACCEPTS, PartDecision, SequentialTest
from defect_jax.decision.rules import Options
from defect_jax.decision.sequential import mean_looks
from defect_jax.metrics.calibration import logit

FEWEST_PARTS = 2  # of each kind, or nothing is known of how they scatter


def bounds(miss_rate: float, false_alarm_rate: float) -> tuple[float, float]:
    """Return Wald's bounds of the log likelihood ratio: accept up to the first, reject from the
    second on.

    >>> [round(bound, 4) for bound in bounds(miss_rate=0.05, false_alarm_rate=0.01)]
    [-2.9857, 4.5539]
    """
    accept = math.log(miss_rate / (1.0 - false_alarm_rate))
    return accept, math.log((1.0 - miss_rate) / false_alarm_rate)


def choose_wald(
    label: np.ndarray,
    score: Sequence[np.ndarray],
    part: PartDecision,
    options: Options,
    may_accept: bool,
) -> SequentialTest:
    """Return the test with the promised rates, from what validation parts say of shots.

    Args:
        label: of each part.
        score: probabilities of the shots of each part, in order.
        part: how the whole part is decided.
        options: `config.decision`.
        may_accept: False where no part may be accepted early.
    """
    logits, lengths = [logit(shots) for shots in score], [len(shots) for shots in score]
    lower, upper = bounds(options["early_miss_rate"], options["early_false_alarm_rate"])
    enough = min(label.sum(), (1 - label).sum()) >= FEWEST_PARTS
    correlation, shots = shot_correlation(label, logits), float(np.mean(lengths))
    test = SequentialTest(
        upper=upper,
        lower=lower if may_accept else NO_EVIDENCE_ACCEPTS,
        expected_shots=shots,
        shots=shots,
        correlation=correlation,
        effective_shots=float(effective_shots(shots, correlation)),
        evidence=fit(label, logits) if enough else NOTHING,
    )
    return mean_looks(test, score, part)
