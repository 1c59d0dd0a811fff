"""From scores to decisions: everything that is chosen on the validation split, and how."""

from defect_jax.decision.record import (
    Combination,
    DecisionRule,
    Evidence,
    PartDecision,
    Promise,
    SequentialTest,
)

__all__ = ["Combination", "DecisionRule", "Evidence", "PartDecision", "Promise", "SequentialTest"]
