"""Which pictures to look at: every picture in one section, worst first."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from defect_jax.metrics.calibration import logit
from defect_jax.metrics.picture import Picture
from defect_jax.report import budget
from defect_jax.report.cards import card
from defect_jax.report.judges import Judge

LoadPicture = Callable[[str], tuple[np.ndarray, np.ndarray, np.ndarray]]
PICTURES_A_SECTION = 12
NEAR = 48  # pictures nearest to the threshold that are shown as large as the mistakes


class Section(NamedTuple):
    """Pictures below a heading, worst first; the slider moves pictures from one to another."""

    name: str  # what page.js calls it
    heading: str
    whole: str  # what its pictures are counted of
    order: str  # what comes first, in words
    rows: list[int]  # indices of the pictures


def sections(pictures: Sequence[Picture], deciding: Sequence[Judge]) -> list[Section]:
    """Misses, then false alarms, then all others, the least sure of them first.

    A picture belongs to the first section that fits; so the mask's own hold what it alone decides
    wrongly.
    """
    label = np.array([picture.label for picture in pictures])
    found: list[Section] = []
    left = np.ones(len(pictures), bool)
    kinds = ((1, "misses", "Missed by the"), (0, "alarms", "False alarms of the"))
    for truth, kind, heading in kinds:
        for judge in deciding:
            rejected = np.array([getattr(picture, judge.decision) for picture in pictures])
            rows = np.flatnonzero(left & (label == truth) & (rejected != truth))
            left[rows] = False
            score = np.array([getattr(picture, judge.score) for picture in pictures])
            rows = rows[np.argsort(score[rows] if truth else -score[rows], kind="stable")]
            found.append(_mistakes(kind, heading, judge, judge is deciding[0], label, truth, rows))
    return [*found, _rest(pictures, deciding[0], np.flatnonzero(left))]


def gallery(
    chosen: Sequence[Section],
    pictures: Sequence[Picture],
    deciding: Sequence[Judge],
    load_picture: LoadPicture,
    row_bytes: int,
    names: Sequence[str] = (),
) -> str:
    """Every section with its first cards, and a store of the others that page.js takes from.

    Args:
      chosen: of `sections`.
      pictures: the rows of predictions.csv.
      deciding: of `judges`.
      load_picture: id -> image, true mask, predicted mask.
      row_bytes: of the page, already spent on the numbers of all pictures.
      names: of the classes in the masks, the background's first; empty for one class of defect.
    """
    rows = [row for section in chosen for row in section.rows]
    rows = rows[: budget.most_pictures(row_bytes)]
    wrong = sum(len(section.rows) for section in chosen[:-1])

    def show(index: int, longer_side_px: int, limit: int) -> str:
        picture = pictures[rows[index]]
        loaded = load_picture(picture.id)
        return card(rows[index], picture, deciding, loaded, longer_side_px, limit, names)

    telling = [index < wrong + NEAR for index in range(len(rows))]
    cards = dict(zip(rows, budget.share_out(telling, row_bytes, show), strict=True))
    html = [_left_out(len(pictures) - len(cards))]
    html += [_section(section, cards) for section in chosen]
    stored = [cards[r] for s in chosen for r in s.rows[PICTURES_A_SECTION:] if r in cards]
    return "\n".join([*html, '<div id="store" hidden>', *stored, "</div>"])


def _mistakes(
    kind: str,
    heading: str,
    judge: Judge,
    first: bool,
    label: np.ndarray,
    truth: int,
    rows: np.ndarray,
) -> Section:
    return Section(
        name=kind if first else f"mask-{kind}",
        heading=f"{heading} {judge.name}{'' if first else ' alone'}",
        whole=f"{int((label == truth).sum()):,} {'defective' if truth else 'good'} pictures",
        order=f"{'lowest' if truth else 'highest'} {judge.score.replace('_', ' ')} first",
        rows=rows.tolist(),
    )


def _rest(pictures: Sequence[Picture], judge: Judge, rows: np.ndarray) -> Section:
    return Section(
        name="rest",
        heading="Decided rightly, least sure first",
        whole=f"{len(pictures):,} pictures",
        order="score nearest to the threshold first",
        rows=rows[np.argsort(_distance(pictures, judge)[rows], kind="stable")].tolist(),
    )


def _distance(pictures: Sequence[Picture], judge: Judge) -> Float[np.ndarray, " pictures"]:
    scores = logit([getattr(picture, judge.score) for picture in pictures])
    return np.abs(scores - logit([judge.threshold])[0])


def _section(section: Section, cards: dict[int, str]) -> str:
    shown = [cards[row] for row in section.rows[:PICTURES_A_SECTION] if row in cards]
    return (
        f'<section class="group" data-section="{section.name}">\n'
        f"<h3>{section.heading}: <span data-total>{len(section.rows):,}</span> "
        f"of {section.whole}</h3>\n"
        f'<p data-order="{section.order}">{_note(len(shown), len(section.rows), section.order)}</p>'
        "\n"
        f'<div class="cards">{"".join(shown)}</div>\n'
        '<button type="button" class="more" hidden>Show more</button>\n</section>'
    )


def _note(shown: int, total: int, order: str) -> str:
    """How many of the section's pictures are here, as page.js says it.

    >>> _note(12, 30, "worst first"), _note(3, 3, "worst first"), _note(0, 0, "worst first")
    ('12 of 30, worst first.', 'All, worst first.', 'None.')
    """
    if not total:
        return "None."
    return f"{'All' if shown == total else f'{shown} of {total:,}'}, {order}."


def _left_out(count: int) -> str:
    if not count:
        return ""
    return (
        f'<p class="warning" role="note">{count:,} pictures are not shown, or the page would grow '
        "too large: those decided rightly and most surely come last. All counts on this page "
        "include them.</p>"
    )
