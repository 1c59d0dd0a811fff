"""The ways to decide on an image from its score and its mask, one of which is the verdict.

Each way rejects or not, and has one logit that ranks images as it decides: those that it rejects
are at its threshold or above. The same lines run on NumPy arrays and inside JAX programs.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from defect_jax.decision.record import REJECTS_NOTHING, DecisionRule
from defect_jax.metrics.calibration import logit, temperature_scale

HALF = 0.5
JUST_BELOW = 1e-3  # logits
ToLogit = Callable[[Any], Any]


class Verdict(NamedTuple):
    """What one way makes of images; "..." are their axes."""

    rejected: Any  # "...", bool
    logit: Any  # "...": rejected from that of the way's threshold on


class Way(NamedTuple):
    """One way to decide.

    Attributes:
        decide: `(score, mask_score, mask_rejected, rule, to_logit)` -> `Verdict`.
        threshold: of the probability whose logit that is, by a rule.
        words: what rejects, for users.
    """

    decide: Callable[..., Verdict]
    threshold: Callable[[DecisionRule], float]
    words: str


def is_number(value: Any) -> Any:
    """Return whether a score is finite.

    >>> is_number(0.5), is_number(math.inf), is_number(math.nan)
    (True, False, False)
    """
    return abs(value) < math.inf  # no number is: a comparison with NaN is False


def rejects(score: Any, threshold: Any) -> Any:
    """Return whether the score rejects: unless it is a number below the threshold.

    >>> rejects(0.4, 0.5), rejects(0.5, 0.5), rejects(math.nan, 0.5), rejects(-math.inf, 0.5)
    (False, True, True, True)
    """
    return negate((score < threshold) & is_number(score))


def negate(truth: Any) -> Any:
    """Return the opposite, of Python's own truth too, whose `~` is no truth: `~True` is -2."""
    return truth ^ True


def _by_score(score, mask_score, mask_rejected, rule, to_logit) -> Verdict:
    return Verdict(rejects(score, rule.threshold), to_logit(score))


def _by_mask(score, mask_score, mask_rejected, rule, to_logit) -> Verdict:
    """Take the logits above the threshold: the highest of many pixels is seldom near 0."""
    margin = _margin(mask_score, rule.mask_threshold, mask_rejected, to_logit)
    return Verdict(mask_rejected, margin)


def _by_either(score, mask_score, mask_rejected, rule, to_logit) -> Verdict:
    """Take the one that is further above its threshold, in logits."""
    by_score = rejects(score, rule.threshold)
    margin = _namespace(score).maximum(
        _margin(score, rule.threshold, by_score, to_logit),
        _margin(mask_score, rule.mask_threshold, mask_rejected, to_logit),
    )
    return Verdict(by_score | mask_rejected, margin)


def _by_both(score, mask_score, mask_rejected, rule, to_logit) -> Verdict:
    """Take the logistic regression on both logits."""
    fitted = rule.logistic
    value = fitted.intercept + fitted.head * to_logit(score) + fitted.mask * to_logit(mask_score)
    return Verdict(rejects(_expit(value), fitted.threshold), value)


def _margin(score: Any, threshold: float, rejected: Any, to_logit: ToLogit) -> Any:
    """Return by how much a score is above its threshold, in logits.

    What is not rejected stays below 0: a mask may be high and too small, and scores very near to 0
    and 1 have one logit. What is rejected is at least 0, however logits are rounded.
    """
    # No score comes near a threshold that rejects nothing.
    at = 2.0 * logit(1.0) if threshold >= REJECTS_NOTHING else logit(threshold)
    margin, xp = to_logit(score) - float(at), _namespace(score)
    return xp.where(rejected, xp.maximum(margin, 0.0), xp.minimum(margin, -JUST_BELOW))


def _expit(value: Any) -> Any:
    return 1.0 / (1.0 + _namespace(value).exp(-value))


def _namespace(value: Any) -> Any:
    """Return the module of an array; NumPy's for plain numbers."""
    return getattr(value, "__array_namespace__", lambda: np)()


WAYS = {
    "score": Way(_by_score, lambda rule: rule.threshold, "the score of an image"),
    "mask": Way(_by_mask, lambda rule: HALF, "the mask of an image"),
    "either": Way(_by_either, lambda rule: HALF, "the score of an image or its mask"),
    "logistic": Way(
        _by_both,
        lambda rule: rule.logistic.threshold if rule.logistic else REJECTS_NOTHING,
        "score and mask of an image together (logistic regression)",
    ),
}


def verdict(
    score: Any,
    mask_score: Any,
    mask_rejected: Any,
    rule: DecisionRule,
    to_logit: ToLogit = logit,
) -> Verdict:
    """Decide on images in the way that `rule.decides` names.

    Args:
        score: of the classification head, "...".
        mask_score: highest probability of the mask, "...".
        mask_rejected: whether the mask rejects: it may be high and too small, "...".
        to_logit: `metrics.calibration.logit`, or its twin for programs.

    >>> rule = DecisionRule(0.9, 0.5, 0.5, 1, 9, 5, decides="either")
    >>> given = np.array([0.95, 0.1, 0.1]), np.array([0.1, 0.6, 0.7]), np.array([0, 1, 0], bool)
    >>> rejected, above = verdict(*given, rule)
    >>> rejected.tolist(), above.round(3).tolist()
    ([True, True, False], [0.747, 0.405, -0.001])
    """
    return WAYS[rule.decides].decide(score, mask_score, mask_rejected, rule, to_logit)


def verdict_threshold(rule: DecisionRule) -> float:
    """Return the probability, before the temperature, from which on the verdict rejects."""
    return WAYS[rule.decides].threshold(rule)


def probability_threshold(rule: DecisionRule) -> float:
    """Return the probability from which on the verdict rejects.

    >>> rule = DecisionRule(0.9, 0.5, 0.5, 1, 9, 5, temperature=2.0)
    >>> round(probability_threshold(rule), 4)
    0.75
    """
    threshold = verdict_threshold(rule)
    return threshold if threshold > 1.0 else float(temperature_scale(threshold, rule.temperature))
