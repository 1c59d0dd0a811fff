"""One row a physical part: what is shipped or scrapped. Its images are one group."""

from collections.abc import Sequence
from typing import NamedTuple

from defect_jax.metrics import ranking
from defect_jax.metrics.images import mean
from defect_jax.runtime import atomic_files
from defect_jax.runtime.escapes import csv_text
from defect_jax.runtime.paths import AnyPath


class Part(NamedTuple):
    """A row of parts.csv."""

    group: str
    label: int  # 1 = any of its images is defective
    pictures: int
    score: float  # of all its shots together
    decision: int  # 1 = rejected by it
    sequential_decision: int  # 1 = rejected by the causal test
    shots: int  # that the causal test used


def part_metrics(parts: Sequence[Part]) -> dict[str, int | float | None]:
    """Return every metric of metrics.json that counts parts; None where it is not defined.

    >>> missed = Part("a", 1, 6, 0.2, 0, 0, 6)
    >>> found, good = Part("b", 1, 6, 0.9, 1, 1, 1), Part("c", 0, 6, 0.1, 0, 0, 2)
    >>> metrics = part_metrics([missed, found, good])
    >>> metrics["part_recall"], metrics["sequential_shots"], metrics["shots"]
    (0.5, 3.0, 6.0)
    """
    label, score = [part.label for part in parts], [part.score for part in parts]
    defective = [part for part in parts if part.label]
    good = [part for part in parts if not part.label]
    return {
        "parts": len(parts),
        "defective_parts": len(defective),
        "part_recall": mean([part.decision for part in defective]),
        "part_precision": mean([part.label for part in parts if part.decision]),
        "part_false_positive_rate": mean([part.decision for part in good]),
        "part_false_negatives": sum(1 - part.decision for part in defective),
        "part_false_positives": sum(part.decision for part in good),
        "part_ap": ranking.average_precision(label, score),
        "part_auroc": ranking.auroc(label, score),
        "part_recall_at_fpr_05": ranking.recall_at_fpr(label, score, 0.05),
        "sequential_recall": mean([part.sequential_decision for part in defective]),
        "sequential_false_positive_rate": mean([part.sequential_decision for part in good]),
        "sequential_shots": mean([part.shots for part in parts]),
        "shots": mean([part.pictures for part in parts]),
    }


def write_parts(path: AnyPath | str, parts: Sequence[Part]) -> None:
    """Write parts.csv, whole or not at all; its floats read back unchanged."""
    atomic_files.write_text(path, csv_text([Part._fields, *parts]))
