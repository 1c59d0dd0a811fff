"""The images of the report, worst first: what was decided on each, and by which score.

Every image has its place in one section; the slider moves images from one section to another.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from defect_jax.decision import DecisionRule
from defect_jax.decision.apply import is_too_small
from defect_jax.metrics.calibration import logit
from defect_jax.metrics.images import ImageRow
from defect_jax.report import thumbnails
from defect_jax.report.cards import Fact, card, overlap_fact, verdict_fact
from defect_jax.report.classes import class_facts
from defect_jax.report.decision_heads import DecisionHead
from defect_jax.report.outlines import frame
from defect_jax.report.render import breakable

LoadImage = Callable[[str], tuple[np.ndarray, np.ndarray, np.ndarray]]
IMAGES_A_SECTION = 12  # shown at once; page.js takes the others from a store
NEAR = 48  # images nearest to the threshold that are shown as large as the mistakes


class Section(NamedTuple):
    """Images below a heading, worst first; the slider moves images from one to another."""

    name: str  # what page.js calls it
    heading: str
    whole: str  # what its images are counted of
    order: str  # what comes first, in words
    rows: list[int]  # indices of the images


def sections(image_rows: Sequence[ImageRow], heads: Sequence[DecisionHead]) -> list[Section]:
    """Return misses, then false alarms, then all others, the least sure of them first."""
    head = heads[0]
    label = np.array([image_row.label for image_row in image_rows])
    rejected = np.array([getattr(image_row, head.decision) for image_row in image_rows])
    score = np.array([getattr(image_row, head.score) for image_row in image_rows])
    found = []
    for truth, kind, heading in ((1, "misses", "Missed"), (0, "alarms", "False alarms")):
        rows = np.flatnonzero((label == truth) & (rejected != truth))
        rows = rows[np.argsort(score[rows] if truth else -score[rows], kind="stable")]
        found.append(_mistakes(kind, heading, label, truth, rows))
    return [*found, _rest(image_rows, head, np.flatnonzero(rejected == label))]


class Gallery(NamedTuple):
    """The cards that are on the page."""

    sections: list[Section]
    cards: dict[int, Markup]  # by the index of the image
    left_out: int  # images without a card


def gallery(
    chosen: list[Section],
    image_rows: Sequence[ImageRow],
    heads: Sequence[DecisionHead],
    decision: DecisionRule,
    load_image: LoadImage,
    row_bytes: int,
    names: Sequence[str] = (),
) -> Gallery:
    """Return the cards of as many images as the page has room for.

    Args:
      chosen: of `sections`.
      image_rows: of predictions.csv.
      heads: of `decision_heads`.
      decision: the thresholds, and the least area of a mark.
      load_image: id -> image, true mask, predicted mask.
      row_bytes: of the page, already spent on the numbers of all images.
      names: of the classes in the masks, the background's first; empty for one class of defect.
    """
    rows = [row for section in chosen for row in section.rows]
    rows = rows[: thumbnails.most_images(row_bytes)]
    wrong = sum(len(section.rows) for section in chosen[:-1])

    def show(index: int, longer_side_px: int, limit: int) -> Markup:
        image_row = image_rows[rows[index]]
        image, true_mask, predicted_mask = load_image(image_row.id)
        masks = [("true", true_mask > 0), ("predicted", predicted_mask > 0)]
        alt = f"Image {image_row.id}, {_truth(image_row)}, {_seen(true_mask, predicted_mask)}"
        facts = [
            *_facts(image_row, heads, decision),
            *class_facts(names, true_mask, predicted_mask),
            overlap_fact(image_row.iou, image_row.masked),
        ]
        svg = frame(f"p{rows[index]}", alt, image, masks, longer_side_px, limit)
        return card(svg, breakable(image_row.id), facts, attributes={"data-row": rows[index]})

    telling = [index < wrong + NEAR for index in range(len(rows))]
    cards = dict(zip(rows, thumbnails.share_out(telling, row_bytes, show), strict=True))
    return Gallery(chosen, cards, len(image_rows) - len(cards))


def _facts(
    image_row: ImageRow, heads: Sequence[DecisionHead], decision: DecisionRule
) -> list[Fact]:
    """Return the truth, and every decision with its reason; the slider moves the first one."""
    facts = [Fact("Truth", _truth(image_row))]
    for head in heads:
        decided, score = getattr(image_row, head.decision), getattr(image_row, head.score)
        live = head is heads[0]
        name = "Verdict" if live else head.name.capitalize()
        facts.append(verdict_fact(name, image_row.label, decided, score, live=live))
    return [*facts, Fact("Marked", _marked(image_row, decision))]


def _truth(image_row: ImageRow) -> str:
    if not image_row.label:
        return "good"
    return "defective" if image_row.masked else "defective, not drawn"


def _marked(image_row: ImageRow, decision: DecisionRule) -> str:
    """Return how much the mask marks, and whether that is why it rejects nothing."""
    if is_too_small(image_row.mask_score, image_row.mask_decision, decision):
        return f"fewer than the {decision.min_area_px:,} px it takes"
    return f"{image_row.predicted_px:,} px"


def _seen(true_mask: np.ndarray, predicted_mask: np.ndarray) -> str:
    """Return which outlines there are."""
    both = {
        (True, True): "with the outlines of its true and its predicted defects",
        (True, False): "with the outline of its true defects; none is predicted",
        (False, True): "with the outline of predicted defects; none is true",
        (False, False): "without a true or a predicted defect",
    }
    return both[bool(true_mask.any()), bool(predicted_mask.any())]


def _mistakes(kind: str, heading: str, label: np.ndarray, truth: int, rows: np.ndarray) -> Section:
    return Section(
        name=kind,
        heading=heading,
        whole=f"{int((label == truth).sum()):,} {'defective' if truth else 'good'} images",
        order=f"{'lowest' if truth else 'highest'} probability first",
        rows=rows.tolist(),
    )


def _rest(image_rows: Sequence[ImageRow], head: DecisionHead, rows: np.ndarray) -> Section:
    return Section(
        name="rest",
        heading="Decided rightly, least sure first",
        whole=f"{len(image_rows):,} images",
        order="probability nearest to the threshold first",
        rows=rows[np.argsort(_distance(image_rows, head)[rows], kind="stable")].tolist(),
    )


def _distance(image_rows: Sequence[ImageRow], head: DecisionHead) -> Float[np.ndarray, " images"]:
    scores = logit([getattr(image_row, head.score) for image_row in image_rows])
    return np.abs(scores - logit([head.threshold])[0])
