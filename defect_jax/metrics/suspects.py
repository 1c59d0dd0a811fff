"""Which labels and masks are probably wrong: every image with its likeliest fault.

Four faults are told apart. Each has a suspicion from 0 to 1, and the largest is the image's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from defect_jax.metrics.label_quality import WrongLabels, doubt, estimate_wrong

GOOD, DEFECTIVE, MISPLACED, INCOMPLETE = (
    "looks_defective",
    "looks_good",
    "mask_misplaced",
    "mask_incomplete",
)
KINDS = {
    GOOD: "Marked good, but looks defective",
    DEFECTIVE: "Marked defective, but looks good",
    MISPLACED: "Mask in the wrong place",
    INCOMPLETE: "Part of a defect not marked",
}


class Evidence(NamedTuple):
    """What is known of an image: its label and mask, and what a network that was not trained with
    it sees."""

    id: str
    group: str
    label: int  # 1 = defective
    score: float
    mask_score: float
    true_px: int
    predicted_px: int
    given_softmin: float  # probability that pixels are as labelled, after Lad & Mueller
    inside_mean: float  # defect probability of the mask's pixels; 0 without a mask
    inside_highest: float
    outside_mean: float  # of marked pixels away from the mask; 0 without any
    outside_px: int


class Suspect(NamedTuple):
    """A line of suspects.csv."""

    rank: int
    id: str
    group: str
    label: int
    kind: str  # of KINDS
    suspicion: float
    score: float
    mask_score: float
    given_softmin: float
    inside_mean: float
    inside_highest: float
    outside_mean: float
    outside_px: int
    predicted_px: int
    true_px: int
    why: str


class Suspects(NamedTuple):
    """Every image, the most suspicious first, and how many are worth a look."""

    images: list[Suspect]
    wrong_labels: WrongLabels  # estimated
    wrong_masks: int

    @property
    def to_look_at(self) -> int:
        """Return how many of the first images to look at."""
        return min(len(self.images), round(self.wrong_labels.total) + self.wrong_masks)


def rank(evidence: Sequence[Evidence]) -> Suspects:
    """Return all images with their likeliest fault, the most suspicious first."""
    by_kind = suspicions(evidence)
    names, values = list(by_kind), np.stack(list(by_kind.values()))
    kinds, highest = values.argmax(axis=0), values.max(axis=0)
    order = np.argsort(-highest, kind="stable")
    images = [
        _suspect(place, evidence[row], names[kinds[row]], float(highest[row]))
        for place, row in enumerate(order.tolist(), 1)
    ]
    wrong_masks = sum(s.kind in OF_MASKS and s.suspicion >= SURE for s in images)
    label = [e.label for e in evidence]
    return Suspects(images, estimate_wrong(label, seen(evidence)), wrong_masks)
