"""What decides on an image: the classification head, the mask, or both side by side."""

from typing import NamedTuple

from defect_jax.decision import DecisionRule


class DecisionHead(NamedTuple):
    """One way to decide, with the names of its columns and of its metrics."""

    name: str
    full_name: str
    score: str  # field of an `ImageRow`
    decision: str  # field of an `ImageRow`
    threshold: float
    recall: str  # key of metrics.json
    false_positive_rate: str


def decision_heads(decision: DecisionRule, has_head: bool) -> list[DecisionHead]:
    """Return the head first, where there is one; the slider moves the first one's threshold."""
    mask = DecisionHead(
        *("mask", "mask", "mask_score", "mask_decision", decision.mask_threshold),
        *("seg_recall", "seg_fpr"),
    )
    head = DecisionHead(
        *("head", "classification head", "score", "decision", decision.threshold),
        *("recall", "false_positive_rate"),
    )
    return [head, mask] if has_head else [mask]
