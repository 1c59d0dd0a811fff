"""The evidence of the shots so far: the log of how much likelier a defective part shows them.

Logits of shots are taken as Gaussian with one mean in good parts, another in defective ones, and
the same correlation between any two shots of a part. The log likelihood ratio of n shots is then
that of n independent ones times effective_shots(n) / n, exactly.
"""

import numpy as np

from defect_jax.decision.correlation import effective_shots
from defect_jax.decision.record import Evidence
from defect_jax.metrics.calibration import logit

NOTHING = Evidence(centre=0.0, slope=0.0)


def running_evidence(score: np.ndarray, evidence: Evidence, correlation: float) -> np.ndarray:
    """Return the evidence after the first 1, 2, … shots, in nats.

    A score that is no number is evidence without end, so that it rejects.

    Args:
        score: probability of each shot.

    >>> half, high = 0.5, 0.8807970779778823  # logits 0 and 2
    >>> of = Evidence(centre=1.0, slope=2.0)
    >>> running_evidence(np.array([high, half, high]), of, 0.0).round(6).tolist()
    [2.0, 0.0, 2.0]
    >>> running_evidence(np.array([high, high, high]), of, 1.0).round(6).tolist()
    [2.0, 2.0, 2.0]
    """
    shots = np.arange(1.0, score.size + 1.0)
    mean = np.cumsum(logit(score) - evidence.centre) / shots
    found = evidence.slope * mean * effective_shots(shots, correlation)
    return np.where(np.logical_and.accumulate(np.isfinite(score)), found, np.inf)


def fit(label: np.ndarray, logits: list[np.ndarray]) -> Evidence:
    """Return what one shot tells, from validation parts; nothing where they do not differ.

    Of the two variances the larger one is taken: exp(evidence) then has a mean of at most 1 in good
    parts, and exp(-evidence) in defective ones, whichever of the two scatters more.

    >>> of = fit(np.array([0, 1]), [np.array([-2.0, 0.0]), np.array([1.0, 5.0])])
    >>> of.centre, of.slope
    (1.0, 1.0)
    """
    good, bad = (
        np.concatenate([shots for shots, kind in zip(logits, label, strict=True) if kind == truth])
        for truth in (0, 1)
    )
    apart = bad.mean() - good.mean()
    variance = max(good.var(), bad.var())
    if not (apart > 0 and variance > 0):
        return NOTHING
    return Evidence(float(good.mean() + bad.mean()) / 2.0, float(apart / variance))
