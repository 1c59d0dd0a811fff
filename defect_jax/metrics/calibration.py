"""Whether a probability means what it says: of parts scored 0.9, nine in ten should be defective.

Calibration by one temperature and the expected calibration error after Guo, Pleiss, Sun and
Weinberger (ICML 2017), for two classes: bins of equal width of the probability of a defect.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32
from scipy import optimize, special

Values = Sequence | np.ndarray  # of numbers, one an image
BINS = 15
COLDEST, HOTTEST = 0.1, 50.0
NEAREST = 2.0**-24  # the least distance of a float32 probability from 1; from 0 they get nearer


class ReliabilityBin(NamedTuple):
    """Images with a probability from `low` to below `high` (the last bin holds 1 as well)."""

    low: float
    high: float
    count: int
    mean_probability: float
    defective_share: float


def logit(score: Values | float) -> np.ndarray | np.float64:
    """Return log(p / (1 - p)), with 0 and 1 moved to the nearest that a float32 can tell from 1.

    >>> logit([0.5, 0.75]).round(4).tolist()
    [0.0, 1.0986]
    """
    return special.logit(np.clip(np.asarray(score, np.float64), NEAREST, 1.0 - NEAREST))


def logit_jax(score: Float32[Array, "*b"]) -> Float32[Array, "*b"]:
    """Do the same in float32 inside a program.

    >>> logit_jax(jnp.array([0.5, 0.75])).round(4).tolist()
    [0.0, 1.0986000299453735]
    """
    kept = jnp.clip(score, NEAREST, 1.0 - NEAREST)
    return jnp.log(kept) - jnp.log1p(-kept)


def temperature_scale(score: Values | float, temperature: float) -> np.ndarray | np.float64:
    """Return the probability whose logit is the score's divided by the temperature.

    >>> temperature_scale([0.5, 0.9], 2.0).round(4).tolist()
    [0.5, 0.75]
    """
    return special.expit(logit(score) / temperature)


def log_loss(label: Values, score: Values, temperature: float = 1.0) -> np.ndarray:
    """Return -log of the probability of each image's truth, after `temperature_scale`; of a label
    between 0 and 1 the mean of both.

    >>> log_loss([1, 0], [0.8, 0.8]).round(4).tolist()  # -log 0.8 and -log 0.2
    [0.2231, 1.6094]
    """
    logits = logit(score) / temperature
    return np.logaddexp(0.0, logits) - np.asarray(label, np.float64) * logits


def best_temperature(label: Values, score: Values) -> float | None:
    """Return the temperature of the least mean log loss; None unless there are both kinds of image.

    The log loss is convex in one over the temperature, so there is one minimum. The labels of n
    images of a kind count as (n + 1) / (n + 2), as one image more of the other kind in n + 2 would
    have it (Platt 1999, section 2.2): scores that part few images without a mistake are no reason
    to be certain of all to come.

    >>> round(best_temperature([0, 1] * 9, [0.1, 0.9] * 9), 3)  # log 10, and log 9
    0.954
    """
    label = np.asarray(label, np.float64)
    defective = label.sum()
    if not 0 < defective < label.size:
        return None
    good = label.size - defective
    target = np.where(label == 1, (defective + 1.0) / (defective + 2.0), 1.0 / (good + 2.0))

    def loss(inverse: float) -> float:
        return float(np.mean(log_loss(target, score, 1.0 / inverse)))

    bounds = (1.0 / HOTTEST, 1.0 / COLDEST)
    found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return float(1.0 / found.x)


def reliability(label: Values, probability: Values, bins: int = BINS) -> list[ReliabilityBin]:
    """Return the bins that hold an image, in rising order.

    >>> reliability([0, 1, 1], [0.05, 0.9, 1.0], bins=2)[1]
    ReliabilityBin(low=0.5, high=1.0, count=2, mean_probability=0.95, defective_share=1.0)
    """
    label, probability = np.asarray(label, np.float64), np.asarray(probability, np.float64)
    index = np.minimum((probability * bins).astype(int), bins - 1)
    filled = []
    for number in np.unique(index):
        inside = index == number
        filled.append(
            ReliabilityBin(
                low=float(number / bins),
                high=float((number + 1) / bins),
                count=int(inside.sum()),
                mean_probability=float(probability[inside].mean()),
                defective_share=float(label[inside].mean()),
            )
        )
    return filled


def expected_calibration_error(
    label: Values, probability: Values, bins: int = BINS
) -> float | None:
    """Return the mean distance of probability and share of defectives over the images, bin by bin.

    Guo et al. 2017, equation 3. None without images.

    >>> round(expected_calibration_error([0, 1, 1, 1], [0.1, 0.9, 0.8, 0.9]), 4)
    0.125
    """
    filled = reliability(label, probability, bins)
    total = sum(bin.count for bin in filled)
    if not total:
        return None
    gap = sum(bin.count * abs(bin.mean_probability - bin.defective_share) for bin in filled)
    return gap / total
