"""Confident learning: which labels do not agree with scores of a network that has not seen them.

After Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
Journal of Artificial Intelligence Research 70 (2021), sections 3 and 4.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from defect_jax.metrics.ranking import Values

UNKNOWN = 0.5  # threshold of a class that no image is labelled as


class ClassThresholds(NamedTuple):
    """Mean probability of a class among the images labelled so: how sure the network usually is."""

    good: float
    defective: float


class WrongLabels(NamedTuple):
    """Estimated numbers of wrong labels."""

    good: float  # labelled good, and defective
    defective: float  # labelled defective, and good

    @property
    def total(self) -> float:
        """Return both together."""
        return self.good + self.defective


def class_thresholds(label: Values, probability: Values) -> ClassThresholds:
    """Return t_j, the mean of p(j) over the images with label j (equation 2).

    Args:
        label: 1 = defective.
        probability: of a defect.

    >>> class_thresholds([0, 0, 1, 1], [0.1, 0.3, 0.6, 1.0])
    ClassThresholds(good=0.8, defective=0.8)
    """
    label, probability = np.asarray(label), np.asarray(probability, np.float64)
    of_class = (1.0 - probability[label == 0], probability[label == 1])
    return ClassThresholds(*[float(p.mean()) if p.size else UNKNOWN for p in of_class])


def estimate_wrong(label: Values, probability: Values) -> WrongLabels:
    """Return how many labels are wrong, by the confident joint (equations 1 and 3).

    An image counts as surely of a class where that probability reaches the class's threshold; of
    both, as the more probable one. Of each label, the share of what is surely of the other class
    among all that is surely of one is taken for its share of wrong labels.

    >>> label = [0] * 8 + [1] * 4
    >>> probability = [0.1] * 7 + [0.9] + [0.9] * 3 + [0.1]
    >>> estimate_wrong(label, probability)
    WrongLabels(good=1.0, defective=1.0)
    """
    label, probability = np.asarray(label), np.asarray(probability, np.float64)
    limit = class_thresholds(label, probability)
    good, defective = 1.0 - probability >= limit.good, probability >= limit.defective
    surely_defective = defective & (~good | (probability > 0.5))
    surely_good = good & ~surely_defective
    wrong = []
    for given, other, same in (
        (0, surely_defective, surely_good),
        (1, surely_good, surely_defective),
    ):
        off, on = np.sum(other[label == given]), np.sum(same[label == given])
        wrong.append(float(off / max(off + on, 1) * np.sum(label == given)))
    return WrongLabels(*wrong)


def doubt(label: Values, probability: Values) -> Float[np.ndarray, " images"]:
    """Return how little each label is believed: 0.5 less half the normalised margin.

    The margin p(given) - p(other) is taken after each class's threshold is subtracted from its
    probability (section 4.2), so that a network that is rarely sure of a class does not make all
    its images suspect; then it is mapped from [-2, 2] to [0, 1].

    >>> doubt([0, 0, 1, 1], [0.1, 0.9, 0.9, 0.1]).round(2).tolist()
    [0.3, 0.7, 0.3, 0.7]
    """
    label, probability = np.asarray(label), np.asarray(probability, np.float64)
    limit = class_thresholds(label, probability)
    margin = (probability - limit.defective) - (1.0 - probability - limit.good)
    return np.where(label == 1, 2.0 - margin, 2.0 + margin) / 4.0
