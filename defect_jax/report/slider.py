"""The slider that moves the first judge's threshold, and the numbers that it works from."""

import json
import math
from collections.abc import Sequence
from html import escape

import numpy as np

from defect_jax.decision import DecisionRule
from defect_jax.metrics.calibration import logit
from defect_jax.metrics.picture import Picture
from defect_jax.report.judges import Judge, judges
from defect_jax.report.verdict import mistakes_of
from defect_jax.report.words import share, threshold_text

POSITIONS = 400
# label, rejected -> style and words; page.js writes the same on the cards.
VERDICTS = [
    [("found", "accepted"), ("wrong", "false alarm")],
    [("wrong", "missed"), ("found", "rejected")],
]


def positions(scores: Sequence[float], decided: float) -> list[float]:
    """Rising thresholds, even in the logit, from one that rejects all to one that rejects nothing.

    Even in the logit, because scores crowd near 0 and 1. The decided threshold is one of them.

    >>> found = positions([0.25, 0.75], 0.6)
    >>> found[0], found[-1] > 0.75, 0.6 in found, len(found)
    (0.25, True, True, 401)
    """
    low, high = min(scores), max(scores)
    between = np.linspace(*logit([low, high]), POSITIONS)[1:-1]
    inner = [1.0 / (1.0 + math.exp(-value)) for value in between.tolist()]
    inside = [value for value in inner if low < value <= high]
    return sorted({low, math.nextafter(high, math.inf), decided, *inside})


def slider(pictures: Sequence[Picture], decision: DecisionRule, has_head: bool) -> str:
    """The bar with the slider, hidden until the script runs."""
    judge = judges(decision, has_head)[0]
    steps = positions([getattr(picture, judge.score) for picture in pictures], judge.threshold)
    text = threshold_text(judge.threshold)
    return (
        '<div class="bar" id="bar" hidden>\n'
        f'<label for="slider">Threshold of the {judge.name}</label>\n'
        f'<output for="slider" data-live="threshold">{text}</output>\n'
        f'<input type="range" id="slider" min="0" max="{len(steps) - 1}" step="1" '
        f'value="{steps.index(judge.threshold)}" aria-valuetext="{escape(text)}" '
        'autocomplete="off">\n'
        '<button type="button" id="back" disabled>Back to the decided threshold</button>\n'
        f"{_counts(judge, pictures)}\n"
        f'<p id="moved" hidden><strong>A description only.</strong> {_moved(decision, has_head)}'
        "</p>\n</div>"
    )


def slider_data(pictures: Sequence[Picture], decision: DecisionRule, has_head: bool) -> dict:
    """What page.js needs: every picture's label, score and decisions, in the order of the rows."""
    judge = judges(decision, has_head)[0]
    scores = [getattr(picture, judge.score) for picture in pictures]
    steps = positions(scores, judge.threshold)
    texts = [threshold_text(step) if step <= max(scores) else "above every score" for step in steps]
    decided = steps.index(judge.threshold)
    texts[decided] = threshold_text(judge.threshold)
    return {
        "thresholds": steps,
        "texts": texts,
        "decided": decided,
        "label": [picture.label for picture in pictures],
        "score": scores,
        "decision": [getattr(picture, judge.decision) for picture in pictures],
        "mask": [picture.mask_decision for picture in pictures],
        "verdicts": VERDICTS,
    }


def to_json(data: dict) -> str:
    """JSON that no text in it can end the script element of."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _counts(judge: Judge, pictures: Sequence[Picture]) -> str:
    counted = mistakes_of(judge, pictures)
    recall = share(counted.defective - counted.missed, counted.defective)
    texts = (
        f"Misses {_live('misses', f'{counted.missed:,}')} of {counted.defective:,}",
        f"recall {_live('recall', recall)}",
        f"false alarms {_live('alarms', f'{counted.alarms:,}')} of {counted.good:,}",
        f"false-positive rate {_live('rate', share(counted.alarms, counted.good))}",
    )
    inside = " ".join(f"<span>{text}</span>" for text in texts)
    return f'<p class="counts" aria-live="polite" aria-atomic="true">{inside}</p>'


def _live(name: str, text: str) -> str:
    """A number that page.js writes anew."""
    return f'<b data-live="{name}">{text}</b>'


def _moved(decision: DecisionRule, has_head: bool) -> str:
    text = (
        "A threshold chosen by looking at these pictures is not tested any more; "
        "thresholds come from validation."
    )
    if not has_head and decision.min_area_px > 1:
        text += " Here a single pixel is enough, however large a mark the decision asks for."
    return text
