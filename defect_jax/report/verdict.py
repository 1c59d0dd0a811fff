"""The verdict in large figures: misses and false alarms, each with its interval."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from defect_jax.decision import DecisionRule
from defect_jax.decision.ways import WAYS
from defect_jax.metrics.images import ImageRow
from defect_jax.metrics.parts import Part
from defect_jax.report.decision_heads import DecisionHead

Metrics = Mapping[str, int | float | None]
Interval = tuple[float, float] | None


class Mistakes(NamedTuple):
    """What one way to decide does to images or to parts."""

    missed: int
    defective: int
    alarms: int
    good: int


class Verdict(NamedTuple):
    """The mistakes of one way to decide, with the 95 % intervals of their shares."""

    heading: str
    things: str  # that are decided on
    mistakes: Mistakes
    miss_interval: Interval
    alarm_interval: Interval


class Sequential(NamedTuple):
    """What deciding on a part's images one by one, and stopping when sure, would do."""

    shots: float  # mean number of images of a part that were needed
    images: float  # mean number of images of a part
    mistakes: Mistakes


def verdicts(
    images: Sequence[ImageRow],
    parts: Sequence[Part],
    metrics: Metrics,
    heads: Sequence[DecisionHead],
) -> list[Verdict]:
    """Return that which counts first: of whole parts where they have several images, then of
    images, by the verdict and by the other ways."""
    found = [
        _verdict(
            head.heading,
            "images",
            mistakes_of(head, images),
            metrics,
            (head.recall, head.false_positive_rate),
        )
        for head in heads
    ]
    if have_several_images(parts):
        counted = count_mistakes([part.label for part in parts], [part.decision for part in parts])
        keys = ("part_recall", "part_false_positive_rate")
        found.insert(0, _verdict("Whole parts", "parts", counted, metrics, keys))
    return found


def sentence(verdict: Verdict) -> str:
    """Return what happened to the defective things and to the good ones.

    >>> sentence(Verdict("", "parts", Mistakes(3, 13, 2, 28), None, None))
    'Of 13 defective parts 10 were rejected and 3 missed; of 28 good ones 2 were rejected in vain.'
    """
    of = verdict.mistakes
    bad = (
        f"Of {of.defective:,} defective {verdict.things} {of.defective - of.missed:,} were rejected"
    )
    good = f"of {of.good:,} good ones {of.alarms:,} were rejected in vain"
    if not of.defective:
        return f"No {verdict.things[:-1]} is defective; {good}."
    return f"{bad} and {of.missed:,} missed; {good}."


def who_decides(decision: DecisionRule) -> list[str]:
    """Return who decides and why, in a sentence; none for a rule that does not say why.

    >>> rule = DecisionRule(0.5, 0.5, 0.5, 1, 9, 5, decides="mask", why="there is no head")
    >>> who_decides(rule)
    ['The mask of an image decides: there is no head.']
    """
    words = WAYS[decision.decides].words
    return [f"{words[0].upper()}{words[1:]} decides: {decision.why}."] if decision.why else []


def trust(defective: int, warned: bool, has_promise: bool) -> list[str]:
    """Return how far the figures can be relied on, in sentences.

    Args:
        defective: parts, on which everything rests.
        warned: whether a warning of the page says why not.

    >>> trust(13, warned=False, has_promise=False)[0].replace("\\u00a0", " ")
    '13 defective parts were judged: had none been missed, up to 20.6 % still could be (95 %).'
    """
    if warned:
        return ["These figures cannot be trusted: the warning above says why."]
    if not defective:
        return ["Nothing is known of misses: no part was defective."]
    least = 100 * (1 - 0.05 ** (1 / defective))
    judged = "1 defective part was" if defective == 1 else f"{defective:,} defective parts were"
    reasons = [
        f"{judged} judged: had none been missed, up to {least:.1f}\u00a0% still could be "
        "(95\u00a0%).",
        "The thresholds come from other parts than these. The figures hold for parts and cameras "
        "like these, within the intervals.",
    ]
    rule = "No miss rate is promised; decision.rule=guaranteed_miss_rate would promise one."
    return reasons if has_promise else [*reasons, rule]


def in_words(verdict: Verdict) -> str:
    """Return a verdict as one line of a terminal.

    >>> in_words(Verdict("The mask", "images", Mistakes(3, 75, 0, 0), (0.01, 0.11), None))
    'The mask: missed 3 of 75 defective images (95 % interval 1.0% to 11.0%), no good images'
    """
    of, things = verdict.mistakes, verdict.things
    missed = f"missed {of.missed} of {of.defective} defective {things}" if of.defective else ""
    alarms = f"rejected {of.alarms} of {of.good} good {things}" if of.good else ""
    missed = f"{missed}{_range(verdict.miss_interval)}" if missed else f"no defective {things}"
    alarms = f"{alarms}{_range(verdict.alarm_interval)}" if alarms else f"no good {things}"
    return f"{verdict.heading}: {missed}, {alarms}"


def _range(interval: Interval) -> str:
    if interval is None:
        return ""
    return f" (95 % interval {100 * interval[0]:.1f}% to {100 * interval[1]:.1f}%)"


def sequential(parts: Sequence[Part]) -> Sequential | None:
    """Return the numbers of deciding one by one; None where every part has one image."""
    if not have_several_images(parts):
        return None
    return Sequential(
        sum(part.shots for part in parts) / len(parts),
        sum(part.pictures for part in parts) / len(parts),
        count_mistakes(
            [part.label for part in parts], [part.sequential_decision for part in parts]
        ),
    )


def have_several_images(parts: Sequence[Part]) -> bool:
    """Return whether any part was photographed more than once."""
    return any(part.pictures > 1 for part in parts)


def count_mistakes(labels: Sequence[int], decisions: Sequence[int]) -> Mistakes:
    """Count misses and false alarms.

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


def mistakes_of(head: DecisionHead, images: Sequence[ImageRow]) -> Mistakes:
    """Count those of one way to decide, at the decided threshold."""
    labels = [image.label for image in images]
    return count_mistakes(labels, [getattr(image, head.decision) for image in images])


def _verdict(
    heading: str, things: str, counted: Mistakes, metrics: Metrics, keys: tuple[str, str]
) -> Verdict:
    recall, alarms = (_interval(metrics, key) for key in keys)
    misses = recall and (1 - recall[1], 1 - recall[0])
    return Verdict(heading, things, counted, misses, alarms)


def _interval(metrics: Metrics, key: str) -> Interval:
    low, high = (metrics.get(f"{key}_{end}") for end in ("low", "high"))
    return None if low is None or high is None else (low, high)
