"""What decides on an image: the verdict by its probability, and the other ways beside it."""

from typing import NamedTuple

from defect_jax.decision import DecisionRule
from defect_jax.decision.ways import WAYS, probability_threshold


class DecisionHead(NamedTuple):
    """One way to decide, with the names of its columns and of its metrics."""

    name: str  # of its score
    heading: str  # of its counts
    score: str  # field of an `ImageRow`
    decision: str  # field of an `ImageRow`
    threshold: float
    recall: str  # key of metrics.json
    false_positive_rate: str


def decision_heads(decision: DecisionRule, has_head: bool) -> list[DecisionHead]:
    """Return the verdict first, which the slider moves; then score and mask, unless they are it."""
    verdict = DecisionHead(
        *("probability", f"The verdict, by {WAYS[decision.decides].words}"),
        *("probability", "rejected", probability_threshold(decision)),
        *("verdict_recall", "verdict_false_positive_rate"),
    )
    score = DecisionHead(
        *("score", "By the score of an image alone", "score", "decision", decision.threshold),
        *("recall", "false_positive_rate"),
    )
    mask = DecisionHead(
        *("mask", "By the mask of an image alone", "mask_score", "mask_decision"),
        *(decision.mask_threshold, "seg_recall", "seg_fpr"),
    )
    others = [("score", score)] if has_head else []
    others.append(("mask", mask))
    return [verdict, *(head for way, head in others if way != decision.decides)]
