"""progress.html: the same validation images at each validation, while a run goes on."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Bool, UInt
from markupsafe import Markup
from numpy import ndarray

from defect_jax.metrics.images import image_iou
from defect_jax.report.cards import Fact, card, overlap_fact
from defect_jax.report.figures import run_figures
from defect_jax.report.outlines import frame
from defect_jax.report.render import breakable, render_page
from defect_jax.report.words import score_text

PAGE = "progress.html"
STYLES = ("page.css", "tables.css", "controls.css", "gallery.css")
SIDE_PX, MOST_BYTES = 320, 40_000  # of an image on the page


class Watched(NamedTuple):
    """A validation image, and what the network makes of it at this step."""

    id: str
    label: int
    score: float
    image: UInt[ndarray, "h w c"]
    mask: Bool[ndarray, "h w"]
    decided: Bool[ndarray, "h w"]  # where the probability is at least 0.5


def progress_page(
    title: str, step: int, steps: int, history: Sequence[dict], images: Sequence[Watched]
) -> str:
    """Return the page as one HTML text; until the last step it loads itself anew.

    Args:
        history: the lines of metrics.jsonl so far.
    """
    return render_page(
        "progress.html",
        title,
        ("viewer.js",),
        STYLES,
        step=step,
        steps=steps,
        cards=[_card(f"p{number}", watched) for number, watched in enumerate(images)],
        figures=run_figures(history),
    )


def _card(name: str, watched: Watched) -> Markup:
    masks = [("true", watched.mask), ("predicted", watched.decided)]
    truth = "defective" if watched.label else "good"
    svg = frame(name, f"Image {watched.id}, {truth}", watched.image, masks, SIDE_PX, MOST_BYTES)
    of = watched.mask & watched.decided, watched.mask, watched.decided
    facts = [
        Fact("Truth", truth),
        Fact("Score", score_text(watched.score)),
        overlap_fact(image_iou(*(int(each.sum()) for each in of))),
    ]
    return card(svg, breakable(watched.id), facts)
