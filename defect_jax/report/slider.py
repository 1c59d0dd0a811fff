"""The slider that moves the first head's threshold, and the numbers that it works from."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from defect_jax.metrics.calibration import logit
from defect_jax.metrics.images import ImageRow
from defect_jax.report.cards import VERDICTS
from defect_jax.report.decision_heads import DecisionHead
from defect_jax.report.words import threshold_text

POSITIONS = 400


def positions(scores: Sequence[float], decided: float) -> list[float]:
    """Return rising thresholds, from one that rejects all to one that rejects nothing.

    They are even in the logit, because scores crowd near 0 and 1. The decided threshold is one of
    them.

    >>> found = positions([0.25, 0.75], 0.6)
    >>> found[0], found[-1] > 0.75, 0.6 in found, len(found)
    (0.25, True, True, 401)
    """
    low, high = min(scores), max(scores)
    between = np.linspace(*logit([low, high]), POSITIONS)[1:-1]
    inner = [1.0 / (1.0 + math.exp(-value)) for value in between.tolist()]
    inside = [value for value in inner if low < value <= high]
    return sorted({low, math.nextafter(high, math.inf), decided, *inside})


def slider_data(images: Sequence[ImageRow], head: DecisionHead) -> dict[str, Any]:
    """Return what page.js needs: labels, scores and decisions, in the order of the rows."""
    scores = [getattr(image, head.score) for image in images]
    steps = positions(scores, head.threshold)
    texts = [threshold_text(step) if step <= max(scores) else "above every score" for step in steps]
    decided = steps.index(head.threshold)
    texts[decided] = threshold_text(head.threshold)
    return {
        "thresholds": steps,
        "texts": texts,
        "decided": decided,
        "label": [image.label for image in images],
        "score": scores,
        "decision": [getattr(image, head.decision) for image in images],
        "verdicts": VERDICTS,
    }


def to_json(data: dict[str, Any]) -> Markup:
    """Return JSON that no text in it can end the script element of."""
    return htmlsafe_json_dumps(data, separators=(",", ":"), allow_nan=False)
