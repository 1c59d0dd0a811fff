"""The card of one picture: the surface, both outlines, scores and verdicts."""

from collections.abc import Sequence
from html import escape

import numpy as np

from defect_jax.metrics.picture import Picture
from defect_jax.report.class_lines import class_lines
from defect_jax.report.frames import frame
from defect_jax.report.judges import Judge
from defect_jax.report.slider import VERDICTS
from defect_jax.report.words import score_text


def card(
    row: int,
    picture: Picture,
    deciding: Sequence[Judge],
    loaded: tuple[np.ndarray, np.ndarray, np.ndarray],
    longer_side_px: int,
    limit: int,
    names: Sequence[str] = (),
) -> str:
    """A figure; its row and its mask's score are there for page.js to sort by."""
    image, true_mask, predicted_mask = loaded
    masks = [("true", true_mask > 0), ("predicted", predicted_mask > 0)]
    truth = "defective" if picture.label else "good"
    alt = f"Picture {picture.id}, {truth}, {_seen(true_mask, predicted_mask)}"
    svg = frame(f"p{row}", alt, image, masks, longer_side_px, limit)
    lines = [
        verdict_line(judge.name.capitalize(), picture.label, *_decided(picture, judge), index == 0)
        for index, judge in enumerate(deciding)
    ]
    lines.append(class_lines(names, true_mask, predicted_mask))
    iou = "both empty" if picture.iou is None else f"{picture.iou:.2f}"
    return (
        f'<figure class="card" data-row="{row}" data-mask-score="{picture.mask_score!r}">{svg}'
        f'<figcaption><span class="id">{breakable(picture.id)}</span>'
        f"<dl><div><dt>Truth</dt><dd>{truth}</dd></div>{''.join(lines)}"
        f"<div><dt>Overlap (IoU)</dt><dd>{iou}</dd></div></dl></figcaption></figure>\n"
    )


def verdict_line(who: str, label: int, decision: int, score: float, live: bool) -> str:
    """What was decided, whether that is right, and the score; `live` where the slider moves it."""
    style, words = VERDICTS[label][decision]
    marked = " data-verdict" if live else ""
    value = f'<span class="number">{escape(score_text(score))}</span>'
    return (
        f'<div><dt>{escape(who)}</dt><dd class="{style}"{marked}>'
        f"<span>{words}</span> {value}</dd></div>"
    )


def breakable(name: str) -> str:
    """The escaped name, which a narrow card may break after each folder."""
    return escape(name).replace("/", "/<wbr>")


def _decided(picture: Picture, judge: Judge) -> tuple[int, float]:
    return getattr(picture, judge.decision), getattr(picture, judge.score)


def _seen(true_mask: np.ndarray, predicted_mask: np.ndarray) -> str:
    """Which outlines there are."""
    both = {
        (True, True): "with the outlines of its true and its predicted defects",
        (True, False): "with the outline of its true defects; none is predicted",
        (False, True): "with the outline of predicted defects; none is true",
        (False, False): "without a true or a predicted defect",
    }
    return both[bool(true_mask.any()), bool(predicted_mask.any())]
