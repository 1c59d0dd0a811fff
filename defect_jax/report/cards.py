"""The card of one image, on every page: the surface with its outlines, and what is known of it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from defect_jax.report.render import render

# label, rejected -> style and words; page.js writes the same on the cards.
VERDICTS = [
    [("found", "accepted"), ("wrong", "false alarm")],
    [("wrong", "missed"), ("found", "rejected")],
]


class Fact(NamedTuple):
    """A line of a card."""

    term: str
    text: str
    score: float | None = None  # stands behind the text
    style: str = ""  # class of the style sheet
    live: bool = False  # whether the slider moves it


def verdict_fact(term: str, label: int, decision: int, score: float, live: bool = False) -> Fact:
    """Return what was decided, whether that is right, and the score."""
    style, words = VERDICTS[label][decision]
    return Fact(term, words, score, style, live)


def overlap_fact(iou: float | None, masked: int = 1) -> Fact:
    """Return the overlap of the true and the decided mask.

    Args:
        iou: None where both are empty, or the true one is not known.
        masked: 0 for a defective image without a mask.
    """
    words = "both empty" if masked else "no mask was drawn"
    return Fact("Overlap (IoU)", words if iou is None else f"{iou:.2f}")


def card(
    image: Markup,
    name: str,
    facts: Sequence[Fact],
    below: str = "",
    attributes: Mapping[str, str | int] | None = None,
) -> Markup:
    """Return a card.

    Args:
      image: of `outlines.frame`.
      name: what stands first, in bold.
      facts: the lines of the card.
      below: a second name, which is shown in the enlarged card alone.
      attributes: of the element, for page.js to sort by.
    """
    return render(
        "card.html", image=image, name=name, facts=facts, below=below, attributes=attributes or {}
    )
