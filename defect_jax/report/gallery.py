"""Which pictures to look at, worst first, each with its outlines and scores."""

import base64
import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from defect_jax.decision import Decision
from defect_jax.metrics.picture import Picture
from defect_jax.report.overlays import overlay_jpeg

LoadPicture = Callable[[str], tuple[np.ndarray, np.ndarray, np.ndarray]]
PICTURES_A_SECTION = 12
LOWEST_PROBABILITY = 1e-7  # float32 scores get this close to 0 and 1


class Section(NamedTuple):
    """A heading with the pictures below it, worst first."""

    heading: str
    order: str  # what comes first, in words
    nothing: str  # said in place of pictures
    pictures: list[Picture]


def sections(pictures: Sequence[Picture], decision: Decision, has_head: bool) -> list[Section]:
    """Misses, false alarms and the least sure, of the head and of the mask."""
    chosen = []
    if has_head:
        chosen += _mistakes(pictures, "head", "score", "decision")
    chosen += _mistakes(pictures, "mask", "mask_score", "mask_decision")
    chosen.sort(key=lambda section: "False" in section.heading)  # misses first: they cost most

    def distance(picture: Picture) -> float:
        return abs(_logit(picture.score) - _logit(decision.threshold))

    unsure = Section(
        "Least sure, right or wrong",
        "score nearest to the threshold first",
        "There are no pictures.",
        sorted(pictures, key=distance)[: 2 * PICTURES_A_SECTION],
    )
    return [*chosen, unsure]


def gallery_html(chosen: Sequence[Section], load_picture: LoadPicture, has_head: bool) -> str:
    """Cards of each section; a picture appears once, in the first section that it belongs to."""
    shown: set[str] = set()
    return "\n".join(_section(section, shown, load_picture, has_head) for section in chosen)


def _mistakes(
    pictures: Sequence[Picture], who: str, score: str, decision: str
) -> tuple[Section, Section]:
    defective = [picture for picture in pictures if picture.label]
    good = [picture for picture in pictures if not picture.label]
    missed = [picture for picture in defective if not getattr(picture, decision)]
    alarms = [picture for picture in good if getattr(picture, decision)]
    return (
        Section(
            f"Missed by the {who}: {len(missed)} of {len(defective)} defective pictures",
            f"lowest {score.replace('_', ' ')} first",
            f"No miss of the {who} in {len(defective)} defective pictures.",
            sorted(missed, key=lambda picture: getattr(picture, score)),
        ),
        Section(
            f"False alarms of the {who}: {len(alarms)} of {len(good)} good pictures",
            f"highest {score.replace('_', ' ')} first",
            f"No false alarm of the {who} in {len(good)} good pictures.",
            sorted(alarms, key=lambda picture: -getattr(picture, score)),
        ),
    )


def _section(section: Section, shown: set[str], load_picture: LoadPicture, has_head: bool) -> str:
    new = [picture for picture in section.pictures if picture.id not in shown]
    cards = new[:PICTURES_A_SECTION]
    shown |= {picture.id for picture in cards}
    text = _text(section, len(cards), len(new)) if section.pictures else section.nothing
    inside = "\n".join(_card(picture, load_picture, has_head) for picture in cards)
    grid = f'<div class="cards">\n{inside}\n</div>' if cards else ""
    return f"<h3>{escape(section.heading)}</h3>\n<p>{escape(text)}</p>\n{grid}"


def _text(section: Section, shown: int, new: int) -> str:
    """Says which of the section's pictures are here, which further up, and in what order."""
    again = len(section.pictures) - new
    if not new:
        return "All of them are shown further up."
    if again:
        which = f"The first {shown} of the other {new}" if shown < new else "The others"
        are = "is" if again == 1 else "are"
        return f"{again} of them {are} shown further up. {which}, {section.order}."
    which = f"The first {shown} of {new}" if shown < new else "All"
    return f"{which}, {section.order}."


def _card(picture: Picture, load_picture: LoadPicture, has_head: bool) -> str:
    jpeg = base64.b64encode(overlay_jpeg(*load_picture(picture.id))).decode()
    truth = "defective" if picture.label else "good"
    lines = [_verdict("Mask", picture.label, picture.mask_decision, picture.mask_score)]
    if has_head:
        lines.insert(0, _verdict("Head", picture.label, picture.decision, picture.score))
    iou = "both empty" if picture.iou is None else f"{picture.iou:.2f}"
    name = escape(picture.id)
    breakable = name.replace("/", "/<wbr>")
    return (
        f'<figure class="card">'
        f'<img src="data:image/jpeg;base64,{jpeg}" loading="lazy" '
        f'alt="Picture {name}, {truth}, with the outlines of its true and predicted defects">'
        f'<figcaption><span class="id">{breakable}</span>'
        f"<dl><div><dt>Truth</dt><dd>{truth}</dd></div>{''.join(lines)}"
        f"<div><dt>Overlap (IoU)</dt><dd>{iou}</dd></div></dl></figcaption></figure>"
    )


def _verdict(who: str, label: int, decision: int, score: float) -> str:
    words = {
        (1, 1): ("found", "rejected"),
        (1, 0): ("wrong", "accepted: miss"),
        (0, 1): ("wrong", "rejected: false alarm"),
        (0, 0): ("found", "accepted"),
    }
    style, text = words[label, decision]
    value = f'<span class="number">{_score(score)}</span>'
    return f'<div><dt>{who}</dt><dd class="{style}">{text} {value}</dd></div>'


def _score(score: float) -> str:
    """Three digits that do not round a score near 0 or 1 to certainty."""
    if score in (0.0, 1.0) or 0.001 <= score <= 0.999:
        return f"{score:.3f}"
    return "< 0.001" if score < 0.5 else "> 0.999"


def _logit(probability: float) -> float:
    clipped = min(max(probability, LOWEST_PROBABILITY), 1 - LOWEST_PROBABILITY)
    return math.log(clipped / (1 - clipped))
