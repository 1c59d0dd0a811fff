"""stress.html: which disturbances the decision stands, and at which grade it breaks."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from defect_jax.data.distortions.kinds import Kind
from defect_jax.decision.limits import (
    BROKEN,
    HOLDS,
    REFUTED,
    WORSE,
    JudgedGrade,
    Limits,
    stands_to,
)
from defect_jax.metrics.stress import ErrorRates
from defect_jax.report.cards import card
from defect_jax.report.figures import Figure
from defect_jax.report.outlines import frame
from defect_jax.report.render import render_page
from defect_jax.report.stress_plot import stress_plot
from defect_jax.report.stress_words import (
    MISTAKES,
    KindRows,
    firsts,
    limit_words,
    percent,
    summary,
)

STYLES = ("page.css", "tables.css", "controls.css", "gallery.css", "stress.css")
ORDER = (REFUTED, BROKEN, WORSE)  # the worst first
SIDE_PX, MOST_BYTES = 240, 12_000  # of a sample
# Kind and grade -> name of an image, the image [h w c] and its true mask [h w].
Sample = Callable[[Kind, float], tuple[str, np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class StressPage:
    """Everything that the page shows.

    Attributes:
      title: the data set and the step.
      things: that are decided on: images or parts.
      images: of the test split.
      undisturbed: the images as they are.
      limits: of misses and of false alarms.
      kinds: all kinds with their grades, from gentle to strong.
      sample: shows one image under a disturbance.
      written: when, as text.
    """

    title: str
    things: str
    images: int
    undisturbed: JudgedGrade
    limits: Limits
    kinds: Sequence[KindRows]
    sample: Sample
    written: str = ""


class Cell(NamedTuple):
    """One grade in the table."""

    grade: str
    misses: str
    alarms: str
    of_images: str  # both counts of images, where parts are decided on
    left_out: int
    verdict: str
    style: str  # class of the style sheet


class Row(NamedTuple):
    """One kind in the table, and in the list of first grades."""

    kind: Kind
    cells: list[Cell]
    stands_to: str
    misses: list[str]  # first grade that is worse, that is broken, that is refuted
    alarms: list[str]


class Shown(NamedTuple):
    """The plot of a kind, and an image at each of its grades."""

    figure: Figure
    samples: list[Markup]


def render_stress(page: StressPage) -> str:
    """Return the page as one HTML text."""
    rates, named = page.undisturbed.rates, zip(MISTAKES, page.limits, strict=True)
    return render_page(
        "stress.html",
        f"Stress test: {page.title}",
        ("viewer.js",),
        STYLES,
        things=page.things,
        images=page.images,
        rates=rates,
        written=page.written,
        summary=summary(page.kinds) or ["Nothing was counted."],
        limits=[
            limit_words(field, page.things, rate, limit)
            for (field, limit), rate in zip(named, rates, strict=True)
        ],
        grades=max(len(grades) for _, grades in page.kinds),
        rows=[_row(kind, grades) for kind, grades in page.kinds],
        shown=[_shown(number, page) for number in range(len(page.kinds))],
        sample_id=page.sample(page.kinds[0][0], page.kinds[0][1][0].grade)[0],
    )


def _row(kind: Kind, grades: Sequence[JudgedGrade]) -> Row:
    stood = stands_to(grades)
    return Row(
        kind,
        [_cell(kind, judged) for judged in grades],
        "–" if stood is None else kind.in_words(stood),
        firsts(kind, grades, "misses"),
        firsts(kind, grades, "alarms"),
    )


def _cell(kind: Kind, judged: JudgedGrade) -> Cell:
    standings = {words: getattr(judged, field) for field, words in MISTAKES.items()}
    told = [(words, of) for words, of in standings.items() if of in ORDER]
    of_images = "" if judged.of_images == judged.rates else " / ".join(_counts(judged.of_images))
    return Cell(
        kind.in_words(judged.grade),
        *_counts(judged.rates),
        of_images,
        judged.left_out,
        "; ".join(f"{words} {standing}" for words, standing in told) or HOLDS,
        next((standing for standing in ORDER if standing in standings.values()), HOLDS),
    )


def _counts(rates: ErrorRates) -> list[str]:
    return [f"{rate.count:,} ({percent(rate.share)})" for rate in rates]


def _shown(number: int, page: StressPage) -> Shown:
    kind, grades = page.kinds[number]
    figure = Figure(
        f"{kind.name[0].upper()}{kind.name[1:]}",
        f"{kind.what[0].upper()}{kind.what[1:]}. Bands: 95 % intervals; dashed: limits.",
        *stress_plot(kind, page.undisturbed, grades, page.limits),
    )
    samples = []
    for place, judged in enumerate(grades):
        name, image, mask = page.sample(kind, judged.grade)
        words = kind.in_words(judged.grade)
        alt = f"Image {name}, {kind.name} {words}"
        masks = [("true", mask)]
        svg = frame(f"k{number}g{place}", alt, image, masks, SIDE_PX, MOST_BYTES)
        samples.append(card(svg, words, []))
    return Shown(figure, samples)
