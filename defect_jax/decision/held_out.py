"""The images that everything is chosen on, and how some of them are held out to judge a choice."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from defect_jax.decision.apply import Thresholds, mask_rejects

FOLDS = 5


class Validation(NamedTuple):
    """The images that everything is chosen on, an entry each.

    Attributes:
        id, group: of the image, and of the part it shows.
        label: 1 = defective.
        score: of the head, float32; the mask's where there is no head.
        mask_score: highest probability of the mask.
        area_px: pixels of at least the pixel threshold.
    """

    id: np.ndarray
    group: np.ndarray
    label: np.ndarray
    score: np.ndarray
    mask_score: np.ndarray
    area_px: np.ndarray

    def only(self, inside: np.ndarray) -> "Validation":
        """Return some of the images."""
        return Validation(*[column[inside] for column in self])

    def mask_rejects(self, threshold: float, area_px: int) -> np.ndarray:
        """Return which of them the mask rejects."""
        # A pixel that reaches the mask's threshold reaches the pixel's too, which is lowered to it.
        thresholds = Thresholds(threshold, threshold, area_px if area_px > 1 else 0)
        return mask_rejects(self.mask_score, self.area_px, thresholds)

    @property
    def has_both(self) -> bool:
        """Return whether there are good and defective ones."""
        return bool(0 < self.label.sum() < self.label.size)


def held_out(
    label: np.ndarray, group: np.ndarray, seed: int = 0, folds: int = FOLDS
) -> Iterator[np.ndarray]:
    """Yield for each fold whether an image is in it; each image is once, and no group is divided.

    Defective groups and good ones are dealt out in turn, in a random order of the seed, so that
    every fold has its share of both.

    >>> label, group = np.array([1, 0, 1, 0]), np.array(["a", "b", "c", "d"])
    >>> [fold.tolist() for fold in held_out(label, group, folds=2)]
    [[False, True, True, False], [True, False, False, True]]
    """
    names, index = np.unique(group, return_inverse=True)
    defective = np.zeros(names.size, int)
    np.maximum.at(defective, index, label)
    order = np.random.default_rng(seed).permutation(names.size)
    order = order[np.argsort(-defective[order], kind="stable")]
    fold = np.empty(names.size, int)
    fold[order] = np.arange(names.size) % folds
    for number in range(folds):
        if (inside := fold[index] == number).any():
            yield inside
