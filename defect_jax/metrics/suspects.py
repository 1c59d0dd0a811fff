"""Which labels and masks are probably wrong: every image with its likeliest fault.

Four faults are told apart. Each has a suspicion from 0 to 1, and the largest is the image's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from defect_jax.metrics.calibration import logit
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

WHY = {
    GOOD: "marked good, but looks defective: score {score:.2f}, {predicted_px:,} px marked",
    DEFECTIVE: (
        "marked defective, but looks good: score {score:.2f}, at most {inside_highest:.2f} inside "
        "its mask"
    ),
    MISPLACED: (
        "its mask covers nothing that is seen (at most {inside_highest:.2f}), while "
        "{outside_px:,} px elsewhere look defective ({outside_mean:.2f})"
    ),
    INCOMPLETE: (
        "{outside_px:,} px away from its mask look defective, too ({outside_mean:.2f}); the mask "
        "has {true_px:,} px"
    ),
}
WITHOUT_MASK = "marked defective, with no mask, but looks good: score {score:.2f}"
OF_MASKS = (MISPLACED, INCOMPLETE)
INCOMPLETE_WEIGHT = 0.8  # outlines are a matter of taste, labels less so
SURE = 0.6  # suspicion of a mask from which on the image is worth a look


class Evidence(NamedTuple):
    """What is known of an image: its label and mask, and what a network that was not trained with
    it sees."""

    id: str
    group: str
    label: int  # 1 = defective
    score: float
    mask_score: float
    intersection_px: int
    true_px: int
    predicted_px: int
    given_softmin: float  # probability that pixels are as labelled, after Lad & Mueller
    inside_mean: float  # defect probability of the mask's pixels; 0 without a mask
    inside_highest: float
    outside_mean: float  # of marked pixels away from the mask; 0 without any
    outside_px: int
    masked: int = 1  # 0 where nobody has drawn the defect: then no mask can be wrong


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
    intersection_px: int
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


def seen(evidence: Sequence[Evidence]) -> Float[np.ndarray, " images"]:
    """Return the probability that an image is defective, by all images of its part labelled alike.

    A part is often labelled as a whole, and its shots are judged better together: the mean of the
    logits of their scores.
    """
    parts = [(of.group, of.label) for of in evidence]
    number = {part: place for place, part in enumerate(dict.fromkeys(parts))}
    part = np.array([number[key] for key in parts], int)
    total = np.bincount(part, logit([of.score for of in evidence]))
    return expit(total / np.bincount(part))[part]


def suspicions(evidence: Sequence[Evidence]) -> dict[str, Float[np.ndarray, " images"]]:
    """Return the suspicion of every fault of every image; 0 where it cannot have it.

    Of a label, the doubt of confident learning. Of a mask in the wrong place, the probability of
    what is seen outside of it, times that of nothing being inside; less where what is seen is
    smaller than half of the mask. Of an incomplete one the same with something inside, times the
    share of what is seen that it leaves out.
    """
    of = {name: np.array([getattr(e, name) for e in evidence]) for name in Evidence._fields}
    wrong, defective = doubt(of["label"], seen(evidence)), of["label"] == 1
    drawn = defective & (of["masked"] == 1)
    outside, inside = of["outside_mean"], of["inside_highest"]
    share = of["outside_px"] / np.maximum(of["outside_px"] + of["intersection_px"], 1)
    large = np.minimum(1.0, 2.0 * of["outside_px"] / np.maximum(of["true_px"], 1))
    return {
        GOOD: np.where(defective, 0.0, wrong),
        DEFECTIVE: np.where(defective, wrong, 0.0),
        MISPLACED: np.where(drawn, outside * large * (1.0 - inside), 0.0),
        INCOMPLETE: np.where(drawn, INCOMPLETE_WEIGHT * outside * share * inside, 0.0),
    }


def _suspect(place: int, of: Evidence, kind: str, suspicion: float) -> Suspect:
    own = {name: value for name, value in of._asdict().items() if name in Suspect._fields}
    words = WITHOUT_MASK if kind == DEFECTIVE and not of.masked else WHY[kind]
    why = words.format_map(own)
    return Suspect(rank=place, kind=kind, suspicion=suspicion, why=why, **own)
