"""Head and mask in one score, by logistic regression on the validation images."""

from collections.abc import Sequence

import numpy as np
from scipy import optimize, special

from defect_jax.metrics.calibration import logit

Values = Sequence | np.ndarray  # of numbers, one an image
RIDGE = 1.0  # keeps weights finite where the images can be parted without a mistake


def fit(label: Values, score: Values, mask_score: Values) -> tuple[float, float, float]:
    """Return the intercept and weights of the two logits with the least penalised log loss.

    The penalty is half the squared weights, without the intercept, on the sum of the losses:
    scikit-learn's LogisticRegression with C = 1.

    >>> label, score = [0, 0, 1, 1], [0.1, 0.4, 0.6, 0.9]
    >>> [round(weight, 3) for weight in fit(label, score, [0.5] * 4)]
    [0.0, 0.884, 0.0]
    """
    label = np.asarray(label, np.float64)
    features = np.stack([np.ones(label.size), logit(score), logit(mask_score)], axis=1)
    penalty = RIDGE * np.array([0.0, 1.0, 1.0])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        value = features @ weights
        total = np.logaddexp(0.0, value).sum() - label @ value + penalty @ weights**2 / 2.0
        return total, features.T @ (special.expit(value) - label) + penalty * weights

    found = optimize.minimize(loss, np.zeros(3), jac=True, method="BFGS", options={"gtol": 1e-9})
    intercept, head, mask = found.x
    return float(intercept), float(head), float(mask)


def combined(weights: tuple[float, float, float], score: Values, mask_score: Values) -> np.ndarray:
    """Return the probability that both together give.

    >>> combined((0.0, 1.0, 0.0), [0.25], [0.9]).round(6).tolist()
    [0.25]
    """
    intercept, head, mask = weights
    return special.expit(intercept + head * logit(score) + mask * logit(mask_score))
