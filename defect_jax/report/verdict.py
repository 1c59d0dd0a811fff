"""The verdict in large figures: misses and false alarms, each with its interval."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from defect_jax.decision import DecisionRule
from defect_jax.metrics.parts import Part
from defect_jax.metrics.picture import Picture
from defect_jax.report.judges import Judge, judges
from defect_jax.report.words import rule_text, split_name

Metrics = Mapping[str, int | float | None]


class Mistakes(NamedTuple):
    """What one way to decide does to pictures or to parts."""

    missed: int
    defective: int
    alarms: int
    good: int


def verdict(
    pictures: Sequence[Picture],
    parts: Sequence[Part],
    metrics: Metrics,
    decision: DecisionRule,
    split: str,
    has_head: bool,
) -> str:
    """Misses and false alarms of head, mask and whole parts, and the rule that they come from."""
    tiles = [_judge_tiles(judge, pictures, metrics) for judge in judges(decision, has_head)]
    several = any(part.pictures > 1 for part in parts)
    if several:
        tiles.append(_part_tiles(parts, metrics))
    defective = sum(picture.label for picture in pictures)
    many = f"{len(pictures):,} {split_name(split)} pictures"
    return (
        f"<p>{many}, {defective:,} of them defective and {len(pictures) - defective:,} good.</p>\n"
        f'<div class="verdicts">{"".join(tiles)}</div>\n{rule_text(decision, has_head)}'
        f"{_sequential(parts) if several else ''}"
    )


def count_mistakes(labels: Sequence[int], decisions: Sequence[int]) -> Mistakes:
    """Counts misses and false alarms.

    >>> count_mistakes([1, 1, 0], [0, 1, 1])
    Mistakes(missed=1, defective=2, alarms=1, good=1)
    """
    rows = list(zip(labels, decisions, strict=True))
    return Mistakes(
        missed=rows.count((1, 0)),
        defective=rows.count((1, 0)) + rows.count((1, 1)),
        alarms=rows.count((0, 1)),
        good=rows.count((0, 0)) + rows.count((0, 1)),
    )


def mistakes_of(judge: Judge, pictures: Sequence[Picture]) -> Mistakes:
    """Counts those of the head or of the mask at the decided threshold."""
    labels = [picture.label for picture in pictures]
    return count_mistakes(labels, [getattr(picture, judge.decision) for picture in pictures])


def _judge_tiles(judge: Judge, pictures: Sequence[Picture], metrics: Metrics) -> str:
    keys = (judge.recall, judge.false_positive_rate)
    counted = mistakes_of(judge, pictures)
    return _tiles(f"The {judge.full_name}", "pictures", counted, metrics, keys)


def _part_tiles(parts: Sequence[Part], metrics: Metrics) -> str:
    counted = count_mistakes([part.label for part in parts], [part.decision for part in parts])
    keys = ("part_recall", "part_false_positive_rate")
    return _tiles("Whole parts", "parts", counted, metrics, keys)


def _tiles(
    heading: str, things: str, counted: Mistakes, metrics: Metrics, keys: tuple[str, str]
) -> str:
    low, high = (metrics.get(f"{keys[0]}_{end}") for end in ("low", "high"))
    misses = (None if high is None else 1 - high, None if low is None else 1 - low)
    alarms = tuple(metrics.get(f"{keys[1]}_{end}") for end in ("low", "high"))
    missed = f"{_of(counted.missed, counted.defective)} defective {things} accepted"
    alarmed = f"{_of(counted.alarms, counted.good)} good {things} rejected"
    return (
        f'<section class="verdict"><h3>{heading}</h3><div class="tiles">'
        + _tile(counted.missed, "miss", "misses", missed, misses)
        + _tile(counted.alarms, "false alarm", "false alarms", alarmed, alarms)
        + "</div></section>"
    )


def _tile(count: int, one: str, many: str, whole: str, bounds: tuple) -> str:
    style = "tile wrong" if count else "tile"
    interval = ""
    if None not in bounds:
        low, high = bounds
        interval = f' <span class="interval">95 % interval: {low:.1%} to {high:.1%}</span>'
    return (
        f'<p class="{style}"><span class="count">{count:,}</span> '
        f'<span class="what">{one if count == 1 else many}</span> '
        f"<span>{whole}</span>{interval}</p>"
    )


def _of(count: int, whole: int) -> str:
    return f"{count / whole:.1%} of {whole:,}" if whole else "of no"


def _sequential(parts: Sequence[Part]) -> str:
    """What looking at a part's pictures one by one, and stopping when sure, would do."""
    counted = count_mistakes(
        [part.label for part in parts], [part.sequential_decision for part in parts]
    )
    shots = sum(part.shots for part in parts) / len(parts)
    whole = sum(part.pictures for part in parts) / len(parts)
    return (
        "<p>Looked at one by one, and only until the decision is sure, a part takes "
        f"{shots:.1f} of its {whole:.1f} pictures on average: "
        f"missed parts {counted.missed:,} of {counted.defective:,}, "
        f"false alarms {counted.alarms:,} of {counted.good:,}.</p>"
    )
