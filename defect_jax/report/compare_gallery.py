"""The pictures on which models disagree most, each once a model with that model's outline."""

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from defect_jax.report import budget
from defect_jax.report.cards import breakable, verdict_line
from defect_jax.report.frames import frame, same_frame

MOST_ROWS = 60
LEAST_SPREAD = 0.1  # of IoU or score, below which models agree


class ComparedPicture(NamedTuple):
    """A picture with what each model made of it."""

    id: str
    group: str
    label: int  # 1 = defective
    scores: list[float]
    decisions: list[int]  # 1 = rejected
    mask_decisions: list[int]
    ious: list[float | None]  # None where neither mask marks anything


def disagreements(rows: Sequence[ComparedPicture]) -> list[ComparedPicture]:
    """Different decisions first, then the largest spread of overlap or score; all that differ."""
    differing = [row for row in rows if _decided_apart(row) or spread(row) >= LEAST_SPREAD]
    return sorted(differing, key=lambda row: (not _decided_apart(row), -spread(row)))


def spread(row: ComparedPicture) -> float:
    """The larger one of the spreads of IoU and of score.

    Two empty masks agree as well as two equal ones, so they count as an overlap of 1.

    >>> spread(ComparedPicture("a", "a", 0, [0.1, 0.2], [0, 0], [0, 1], [None, 0.0]))
    1.0
    """
    overlaps = [1.0 if iou is None else iou for iou in row.ious]
    return max(np.ptp(overlaps).item(), np.ptp(row.scores).item())


def gallery(
    names: Sequence[str],
    rows: Sequence[ComparedPicture],
    load_picture: Callable[[str], tuple[np.ndarray, np.ndarray, list[np.ndarray]]],
) -> str:
    """At most `MOST_ROWS` rows, each picture embedded once."""
    found = disagreements(rows)
    chosen = found[:MOST_ROWS]

    def show(index: int, longer_side_px: int, limit: int) -> str:
        loaded = load_picture(chosen[index].id)
        return _row(index, names, chosen[index], loaded, longer_side_px, limit)

    text = f"{len(found):,} of {len(rows):,} pictures"
    shown = f" The first {len(chosen)} are shown." if len(chosen) < len(found) else ""
    return "\n".join(
        [
            f"<p>{text} are decided differently, or overlap or score differ by {LEAST_SPREAD} or "
            f"more.{shown} Different decisions come first, then the largest difference.</p>",
            *budget.share_out([True] * len(chosen), 0, show),
        ]
    )


def _decided_apart(row: ComparedPicture) -> bool:
    return len(set(row.decisions)) > 1


def _row(
    index: int,
    names: Sequence[str],
    row: ComparedPicture,
    loaded: tuple[np.ndarray, np.ndarray, list[np.ndarray]],
    longer_side_px: int,
    limit: int,
) -> str:
    image, true_mask, decided = loaded
    truth = "defective" if row.label else "good"
    cards = []
    for model, (name, mask) in enumerate(zip(names, decided, strict=True)):
        alt = f"Picture {row.id}, {truth}, with the outlines of {name}"
        masks = [("true", true_mask), ("predicted", mask)]
        if model == 0:
            svg = frame(f"r{index}", alt, image, masks, longer_side_px, limit)
        else:
            svg = same_frame(f"r{index}m{model}", f"r{index}", alt, image, masks)
        cards.append(_card(name, model, row, svg))
    return (
        f"<section><h3>{breakable(row.id)}</h3>\n<p>{truth.capitalize()}, part "
        f'{escape(row.group)}.</p>\n<div class="cards">{"".join(cards)}</div></section>'
    )


def _card(name: str, model: int, row: ComparedPicture, svg: str) -> str:
    iou = row.ious[model]
    overlap = "both empty" if iou is None else f"{iou:.2f}"
    decision = verdict_line("Decision", row.label, row.decisions[model], row.scores[model], False)
    mask = "marks something" if row.mask_decisions[model] else "marks nothing"
    return (
        f'<figure class="card">{svg}<figcaption><span class="id">{escape(name)}</span>'
        f'<span class="picture">{breakable(row.id)}</span>'
        f"<dl>{decision}<div><dt>Mask</dt><dd>{mask}</dd></div>"
        f"<div><dt>Overlap (IoU)</dt><dd>{overlap}</dd></div></dl></figcaption></figure>\n"
    )
