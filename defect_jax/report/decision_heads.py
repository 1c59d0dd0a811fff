"""What decides on an image: its score, of the classification head, its mask, or each by itself."""

from typing import NamedTuple

from defect_jax.decision import DecisionRule


class DecisionHead(NamedTuple):
    """One way to decide, with the names of its columns and of its metrics."""

    name: str
    score: str  # field of an `ImageRow`
    decision: str  # field of an `ImageRow`
    threshold: float
    recall: str  # key of metrics.json
    false_positive_rate: str


def decision_heads(decision: DecisionRule, has_head: bool) -> list[DecisionHead]:
    """Return the score first, where it is not the mask's own; the slider moves the first one."""
    mask = DecisionHead(
        *("mask", "mask_score", "mask_decision", decision.mask_threshold),
        *("seg_recall", "seg_fpr"),
    )
    head = DecisionHead(
        *("score", "score", "decision", decision.threshold),
        *("recall", "false_positive_rate"),
    )
    return [head, mask] if has_head else [mask]
