"""What a stress test found, in sentences: what stands, what breaks at which grade, and by what."""

from collections.abc import Sequence

from defect_jax.data.distortions.kinds import Kind
from defect_jax.decision.limits import BEYOND, REFUTED, WORSE, JudgedGrade, Limit, first_at
from defect_jax.metrics.stress import Rate

MISTAKES = {"misses": "misses", "alarms": "false alarms"}  # field -> words
KindRows = tuple[Kind, Sequence[JudgedGrade]]


def summary(kinds: Sequence[KindRows]) -> list[str]:
    """Return which kinds the decision stands at every grade, and from which grade others make it
    worse or break it."""
    stood = [
        f"{kind.name} (to {kind.in_words(grades[-1].grade)})"
        for kind, grades in kinds
        if all(judged.stands for judged in grades)
    ]
    lines = [f"Stands every grade of {_listed(stood)}, as far as {_counts(kinds)} tell."]
    lines = lines if stood else []
    for words, of, apart in (("Worse", (WORSE,), BEYOND), ("Broken", BEYOND, ())):
        firsts = [_first(kind, grades, of, apart) for kind, grades in kinds]
        if any(firsts):
            lines.append(f"{words} from: {'; '.join(filter(None, firsts))}.")
    return lines


def _counts(kinds: Sequence[KindRows]) -> str:
    """Return how many were judged: of few, much can go wrong before a test tells."""
    misses, alarms = kinds[0][1][0].rates
    return f"{misses.of:,} defective and {alarms.of:,} good ones"


def _first(
    kind: Kind, grades: Sequence[JudgedGrade], of: Sequence[str], apart: Sequence[str]
) -> str:
    """Return the first grade at which a kind of mistake has one of the standings `of`, and which
    one; empty where there is none, or one of the standings `apart` comes no later."""
    for judged in grades:
        standings = {words: getattr(judged, field) for field, words in MISTAKES.items()}
        if set(standings.values()) & set(apart):
            return ""
        if by := [words for words, standing in standings.items() if standing in of]:
            return f"{kind.name} {kind.in_words(judged.grade)} ({' and '.join(by)})"
    return ""


def _listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them.

    >>> _listed(["a", "b", "c"]), _listed(["a"])
    ('a, b and c', 'a')
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def limit_words(field: str, things: str, rate: Rate, limit: Limit) -> str:
    """Return what the rate of one kind of mistake is without a disturbance, and what it may be.

    Args:
        field: of `MISTAKES`.
        things: that are counted, images or parts.
        rate: without a disturbance.

    >>> limit_words("alarms", "images", Rate(2, 50, 0.0049, 0.1371), Limit(0.1371, None, True))
    'Without a disturbance 2 of 50 good images are rejected in vain (4.0 %). The decision names no \
rate of false alarms: a grade is broken beyond 13.7 %, the upper end of the 95 % interval.'
    """
    words = MISTAKES[field]
    does, done = {"misses": ("defective", "missed"), "alarms": ("good", "rejected in vain")}[field]
    if rate.share is None:
        return f"No {things[:-1]} is {does}: nothing is known of {words}."
    is_so = f"Without a disturbance {rate.count:,} of {rate.of:,} {does} {things} are {done} "
    is_so += f"({percent(rate.share)})."
    if limit.named is None:
        return (
            f"{is_so} The decision names no rate of {words}: a grade is broken beyond "
            f"{percent(limit.rate)}, the upper end of the 95 % interval."
        )
    if limit.kept:
        return f"{is_so} The decision names at most {percent(limit.named)}: beyond, it is broken."
    return (
        f"{is_so} That is already beyond the {percent(limit.named)} that the decision names; a "
        f"grade is broken beyond {percent(limit.rate)}, the upper end of the 95 % interval."
    )


def percent(share: float | None) -> str:
    """Return a rate in percent.

    >>> percent(0.0466), percent(None)
    ('4.7 %', '–')
    """
    return "–" if share is None else f"{100 * share:.1f} %"


def firsts(kind: Kind, grades: Sequence[JudgedGrade], field: str) -> list[str]:
    """Return the first grades at which one kind of mistake is worse, broken and refuted; a dash for
    none."""
    at = [first_at(grades, field, *of) for of in ((WORSE, *BEYOND), BEYOND, (REFUTED,))]
    return ["–" if grade is None else kind.in_words(grade) for grade in at]
