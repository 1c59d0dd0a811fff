"""All plots of the report: each with a heading, a line on how to read it, and its numbers."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from defect_jax.metrics.images import ImageRow
from defect_jax.metrics.slices import Slice
from defect_jax.report.curve_plots import precision_recall_plot, roc_plot, scored
from defect_jax.report.decision_heads import DecisionHead
from defect_jax.report.score_plots import reliability_plot, score_plot
from defect_jax.report.slice_plot import slice_plot
from defect_jax.report.tables import NumberTable
from defect_jax.report.training_plots import balance_plot, training_plot
from defect_jax.report.words import threshold_text

BAND = "The band holds 95 % of the curves of parts drawn again at random (bootstrap)."


class Figure(NamedTuple):
    """A plot with a heading, a line on how to read it, and its numbers."""

    heading: str
    text: str
    plot: str  # an <svg> element, or ""
    tables: list[NumberTable]
    without: str = ""  # shown where there is no plot


def figures(
    images: Sequence[ImageRow],
    heads: Sequence[DecisionHead],
    temperature: float,
    slices: Sequence[Slice],
    history: Sequence[dict],
) -> list[Figure]:
    """Return the figures that there is anything to show in."""
    made = [
        *_curves(images, heads),
        *_scores(images, heads, temperature),
        *_slices(slices),
        *_run(history),
    ]
    return [figure for figure in made if figure.plot or figure.without]


def run_figures(history: Sequence[dict]) -> list[Figure]:
    """Return the figures of a run alone, finished or not."""
    return [figure for figure in _run(history) if figure.plot]


def _curves(images: Sequence[ImageRow], heads: Sequence[DecisionHead]) -> Iterator[Figure]:
    curves = scored(images, heads)
    yield Figure(
        "Precision and recall",
        f"At every threshold, and at the one in use. Further up and to the right is better. {BAND}",
        *precision_recall_plot(curves),
        without="No precision–recall curve: no image is defective.",
    )
    yield Figure(
        "Recall and false alarms (ROC)",
        "The same against the good images rejected. Further up and to the left is better. " + BAND,
        *roc_plot(curves),
    )


def _scores(
    images: Sequence[ImageRow], heads: Sequence[DecisionHead], temperature: float
) -> Iterator[Figure]:
    for head in heads:
        yield Figure(
            f"How the {head.name} divides good and defective images",
            f"The dashed line is the threshold, {threshold_text(head.threshold)}. Good images "
            "right of it are false alarms, defective ones left of it misses.",
            *score_plot(images, head.score, head.threshold),
        )
    yield Figure(
        "Does the probability mean what it says?",
        "Of images with a probability of 0.9, nine in ten should be defective. Larger marks stand "
        "for more images; ECE is the mean distance from the dotted line.",
        *reliability_plot(images, temperature),
    )


def _slices(slices: Sequence[Slice]) -> Iterator[Figure]:
    for kind, of in (("size", "size of the defect"), ("class", "class of defect")):
        text = "Share of the defective images that are rejected; n is their number."
        yield Figure(f"Recall by {of}", text, *slice_plot(slices, kind))


def _run(history: Sequence[dict]) -> Iterator[Figure]:
    yield Figure(
        "Training",
        "Loss of the training batches and scores of the validation images, by step.",
        *training_plot(history),
    )
    yield Figure(
        "Balance of the tasks",
        "What each task's gradient weighs, how long it is over the shared parameters before it is "
        "weighed, whether the task lags, and whether the tasks agree.",
        *balance_plot(history),
    )
