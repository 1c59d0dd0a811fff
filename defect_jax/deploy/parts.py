"""parts.csv of a prediction: one row a part, from the lines of its images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from defect_jax.decision import DecisionRule
from defect_jax.decision.parts import decide_parts
from defect_jax.decision.shots import parts_of
from defect_jax.deploy.kept_lines import Line
from defect_jax.runtime import atomic_files
from defect_jax.runtime.escapes import csv_text

PARTS = "parts.csv"


class PartRow(NamedTuple):
    """A row of parts.csv; one with an image that cannot be used has no decision."""

    group: str
    pictures: int
    score: float | None = None  # of all its shots together
    decision: int | None = None  # 1 = rejected by it
    sequential_decision: int | None = None  # 1 = rejected by the causal test
    shots: int | None = None  # that the causal test used
    faults: int = 0  # images of it that cannot be used


def part_rows(
    lines: Sequence[Line], groups: Mapping[str, str], rule: DecisionRule
) -> list[PartRow]:
    """Return the rows, in the order of their names.

    Args:
        lines: of predictions.jsonl.
        groups: the part of each image, by its id.
    """
    faults = Counter(groups[line["id"]] for line in lines if "fault" in line)
    images = Counter(groups[line["id"]] for line in lines)
    whole = [line for line in lines if groups[line["id"]] not in faults]
    ids = [line["id"] for line in whole]
    parts = parts_of([groups[id] for id in ids], ids, [0] * len(ids))
    probability = [line["probability"] for line in whole]
    rows = [PartRow(**part._asdict()) for part in decide_parts(parts, probability, rule)]
    rows += [PartRow(group, images[group], faults=count) for group, count in faults.items()]
    return sorted(rows, key=lambda row: row.group)


def write_parts(folder: Path, rows: Sequence[PartRow]) -> None:
    """Write parts.csv, whole or not at all."""
    atomic_files.write_text(folder / PARTS, csv_text([PartRow._fields, *rows]))


def in_words(rows: Sequence[PartRow]) -> str:
    """Return how many parts are rejected.

    >>> in_words([PartRow("a", 2, 0.9, 1, 1, 1), PartRow("b", 3, faults=1)])
    '2 parts: 1 rejected, 0 accepted, 1 not decided (an image of it cannot be used)'
    """
    counts = Counter(row.decision for row in rows)
    text = f"{len(rows)} parts: {counts[1]} rejected, {counts[0]} accepted"
    if counts[None]:
        text += f", {counts[None]} not decided (an image of it cannot be used)"
    return text
