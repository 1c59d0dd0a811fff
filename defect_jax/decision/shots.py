"""Several images of one part, taken together: what is shipped or scrapped is the part."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from defect_jax.metrics import ranking

Values = Sequence | np.ndarray  # of numbers, one an image


class Parts(NamedTuple):
    """Shots by part, each part's in the order in which they were given.

    Attributes:
        group: names of the parts, sorted.
        rows: indices of the images of each part.
        label: 1 if any shot of the part is defective.
    """

    group: list[str]
    rows: list[np.ndarray]
    label: np.ndarray


def mean(score: np.ndarray) -> np.ndarray:
    """Return the mean of the first 1, 2, … shots: a glare in one of them counts little.

    >>> mean(np.array([0.2, 0.8])).tolist()
    [0.2, 0.5]
    """
    return np.cumsum(score) / np.arange(1, score.size + 1)


def noisy_or(score: np.ndarray) -> np.ndarray:
    """Return 1 - Π (1 - p): the chance that any shot shows a defect, were they independent (Pearl
    1988).

    >>> noisy_or(np.array([0.5, 0.5])).tolist()
    [0.5, 0.75]
    """
    return 1.0 - np.cumprod(1.0 - score)


# Name -> score after each shot. Of equal rank on validation the first wins.
SHOTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "max": np.maximum.accumulate,  # one shot is enough: a defect may show in one light only
    "mean": mean,
    "noisy_or": noisy_or,
}


def parts_of(groups: Sequence[str], ids: Sequence[str], label: Values) -> Parts:
    """Collect the images of each part, in the order of their ids, as a camera numbers them.

    >>> parts_of(["a", "b", "a"], ["a/2", "b/1", "a/1"], [0, 0, 1]).rows[0].tolist()
    [2, 0]
    """
    rows: dict[str, list[int]] = {}
    for row in sorted(range(len(ids)), key=lambda row: ids[row]):
        rows.setdefault(groups[row], []).append(row)
    names = sorted(rows)
    label = np.asarray(label)
    return Parts(
        names,
        [np.array(rows[name]) for name in names],
        np.array([int(label[rows[name]].max()) for name in names], np.int64),
    )


def running_scores(parts: Parts, score: Values, shots: str) -> list[np.ndarray]:
    """Return the score of each part after its first, second, … shot."""
    score = np.asarray(score, np.float64)
    return [SHOTS[shots](score[rows]) for rows in parts.rows]


def part_scores(parts: Parts, score: Values, shots: str) -> np.ndarray:
    """Return the score of each part after its last shot."""
    return np.array([running[-1] for running in running_scores(parts, score, shots)])


def best_shots(parts: Parts, score: Values) -> str:
    """Return the way to take shots together that ranks these parts best (AP); max if none can
    tell."""
    several = any(rows.size > 1 for rows in parts.rows)
    if not several or not parts.label.any():
        return "max"
    ap = {n: ranking.average_precision(parts.label, part_scores(parts, score, n)) for n in SHOTS}
    return max(ap, key=ap.get)
