"""Numbers, thresholds and decision rules as the page prints them."""

import math

from defect_jax.decision import DecisionRule

RULES = {
    "best_f1": "the best F1 score (the balance of recall and precision)",
    "target_recall": "the fewest false alarms with a recall of at least {recall:g}",
    "target_false_positive_rate": (
        "the fewest misses with a false-positive rate of at most {false_positive_rate:g}"
    ),
    "least_cost": (
        "the least expected cost, where a miss costs {miss_cost:g}, a false alarm "
        "{false_alarm_cost:g}, and {defect_rate:.4g} of the parts are defective,"
    ),
    "guaranteed_miss_rate": (
        "the fewest false alarms under a promised miss rate of at most {miss_rate:g}"
    ),
}
SPLITS = {"train": "training", "val": "validation", "folds": "out-of-fold"}


def number(value: int | float | None) -> str:
    """Return a figure of metrics.json.

    >>> number(1004), number(0.9361), number(0.00012), number(None)
    ('1,004', '0.936', '0.00012', 'not defined')
    """
    if value is None:
        return "not defined"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.0005 else f"{value:.2g}"


def share(count: int, whole: int) -> str:
    """Return a share rounded half up, as page.js does it.

    So moving the slider there and back changes nothing.

    >>> share(1, 16), share(0, 0)
    ('6.3%', 'not defined')
    """
    return f"{math.floor(1000 * count / whole + 0.5) / 10:.1f}%" if whole else "not defined"


def pixel_share(count: int, whole: int) -> str:
    """Return a share of pixels, of which a few among many are neither none nor all.

    >>> pixel_share(0, 9), pixel_share(1, 9_999), pixel_share(9_998, 9_999), pixel_share(1, 3)
    ('0%', '< 0.1%', '> 99.9%', '33.3%')
    >>> pixel_share(3, 3), pixel_share(0, 0)
    ('100%', '–')
    """
    if not whole:
        return "–"
    if count in (0, whole):
        return "100%" if count else "0%"
    if 1000 * count < whole:
        return "< 0.1%"
    return "> 99.9%" if 1000 * (whole - count) < whole else f"{100 * count / whole:.1f}%"


def score_text(score: float) -> str:
    """Return three digits that do not round a score near 0 or 1 to certainty."""
    if score in (0.0, 1.0) or 0.001 <= score <= 0.999:
        return f"{score:.3f}"
    return "< 0.001" if score < 0.5 else "> 0.999"


def threshold_text(threshold: float) -> str:
    """Return four digits, and near 0 and 1 as many as tell it from them.

    >>> threshold_text(0.41485), threshold_text(0.000012), threshold_text(0.999988)
    ('0.4149', '1.20e-05', '1 − 1.20e-05')
    >>> threshold_text(2.0)  # rejects nothing
    'above every score'
    """
    if threshold > 1.0:
        return "above every score"
    if threshold in (0.0, 1.0) or 0.001 <= threshold <= 0.999:
        return f"{threshold:.4f}"
    return f"{threshold:.2e}" if threshold < 0.5 else f"1 − {1 - threshold:.2e}"


def split_name(name: str) -> str:
    """Return the split in plain English."""
    return SPLITS.get(name, name)


def rule_words(decision: DecisionRule) -> str:
    """Return the rule that chose the thresholds, with its options."""
    return RULES.get(decision.rule, decision.rule).format_map(decision.options)
