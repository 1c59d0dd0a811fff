"""Who decides on a picture: the classification head, the mask, or both side by side."""

from typing import NamedTuple

from defect_jax.decision import DecisionRule


class Judge(NamedTuple):
    """One way to decide, with the names of its columns and of its metrics."""

    name: str
    full_name: str
    score: str  # field of a `Picture`
    decision: str  # field of a `Picture`
    threshold: float
    recall: str  # key of metrics.json
    false_positive_rate: str


def judges(decision: DecisionRule, has_head: bool) -> list[Judge]:
    """The head first, where there is one; the page's slider moves the first one's threshold."""
    mask = Judge(
        *("mask", "mask", "mask_score", "mask_decision", decision.mask_threshold),
        *("seg_recall", "seg_fpr"),
    )
    head = Judge(
        *("head", "classification head", "score", "decision", decision.threshold),
        *("recall", "false_positive_rate"),
    )
    return [head, mask] if has_head else [mask]
