"""What one field of a file may be: a test, and the words that say it."""

import sys
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from defect_jax.runtime.escapes import strange

MOST_CHARACTERS = 4096
LARGEST = sys.float_info.max  # also of whole numbers, which Python lets grow beyond every float


class FieldRule(NamedTuple):
    """A rule for the value of a field.

    Attributes:
        holds: whether a value is allowed; never raises, whatever JSON it is given.
        words: what it must be.
        is_float: whether a whole number stands for the float of its size.
    """

    holds: Callable[[Any], bool]
    words: str
    is_float: bool = False


def number(low: int | float, high: int | float) -> FieldRule:
    """Return the rule of a finite number from `low` to `high`, both included."""
    return FieldRule(
        lambda value: is_number(value) and low <= value <= high, _span(low, high), True
    )


def above(low: int | float, high: int | float) -> FieldRule:
    """Return the rule of a finite number above `low`, up to `high`."""
    rule = number(low, high)
    return FieldRule(
        lambda value: rule.holds(value) and value > low,
        f"a number above {low:g}, up to {high:g}",
        True,
    )


def share_below_one() -> FieldRule:
    """Return the rule of a share that is not the whole."""
    return FieldRule(
        lambda value: is_number(value) and 0.0 <= value < 1.0, "from 0 to below 1", True
    )


def inside_one() -> FieldRule:
    """Return the rule of a share that is neither nothing nor the whole."""
    return FieldRule(lambda value: is_number(value) and 0.0 < value < 1.0, "between 0 and 1", True)


def whole(low: int, high: int) -> FieldRule:
    """Return the rule of a whole number."""
    return FieldRule(lambda value: is_whole(value) and low <= value <= high, _span(low, high))


def flag() -> FieldRule:
    """Return the rule of true or false."""
    return FieldRule(lambda value: isinstance(value, bool), "True or False")


def text(most: int = MOST_CHARACTERS) -> FieldRule:
    """Return the rule of a line of text without control characters."""
    return FieldRule(
        lambda value: isinstance(value, str) and len(value) <= most and is_plain(value),
        f"one line of text of at most {most} characters",
    )


def one_of(names: Collection[str]) -> FieldRule:
    """Return the rule of a name from a list."""
    return FieldRule(
        lambda value: isinstance(value, str) and value in names, f"one of {', '.join(names)}"
    )


def several(rule: FieldRule, least: int, most: int) -> FieldRule:
    """Return the rule of a list whose entries follow a rule."""
    return FieldRule(
        lambda value: (
            isinstance(value, list) and least <= len(value) <= most and all(map(rule.holds, value))
        ),
        f"a list of {least} to {most}, each {rule.words}"
        if least < most
        else f"{least} of {rule.words}",
    )


def or_null(rule: FieldRule) -> FieldRule:
    """Return the rule that allows null as well."""
    return FieldRule(
        lambda value: value is None or rule.holds(value), f"{rule.words}, or None", rule.is_float
    )


def is_number(value: Any) -> bool:
    """Return whether JSON's value is a finite number: neither true nor a text of digits."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def is_whole(value: Any) -> bool:
    """Return whether it is a whole number, written as one."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_plain(value: str) -> bool:
    """Return whether a text holds nothing that would act on a terminal or turn what is read.

    >>> is_plain("pr\u00fcf\u00a01"), is_plain("\x1b]52;c;aGk=\x07"), is_plain("a\u202egnp")
    (True, False, False)
    """
    return not strange(value)


def _span(low: int | float, high: int | float) -> str:
    return f"from {low:g} to {high:g}" if high < 1e6 else f"from {low:g} to {high:.3g}"
