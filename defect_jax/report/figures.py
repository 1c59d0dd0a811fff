"""All plots of the report: each with a heading, a line on how to read it, and its numbers."""

from collections.abc import Iterator, Sequence
from html import escape

from defect_jax.decision import DecisionRule
from defect_jax.metrics.picture import Picture
from defect_jax.metrics.slices import Slice
from defect_jax.report.balance_plot import balance_plot
from defect_jax.report.curve_plots import precision_recall_plot, roc_plot, scored
from defect_jax.report.judges import judges
from defect_jax.report.number_table import folded
from defect_jax.report.reliability_plot import reliability_plot
from defect_jax.report.score_plot import score_plot
from defect_jax.report.slice_plot import slice_plot
from defect_jax.report.training_plot import training_plot
from defect_jax.report.words import threshold_text

BAND = "The band holds 95 % of the curves of redrawn parts."


def figures(
    pictures: Sequence[Picture],
    decision: DecisionRule,
    has_head: bool,
    slices: Sequence[Slice],
    history: Sequence[dict],
) -> str:
    """The figures that there is anything to show in."""
    made = [
        *_curves(pictures, decision, has_head),
        *_scores(pictures, decision, has_head),
        *_slices(slices),
        *_run(history),
    ]
    return "\n".join(made)


def _curves(pictures: Sequence[Picture], decision: DecisionRule, has_head: bool) -> Iterator[str]:
    curves = scored(pictures, decision, has_head)
    text = "At every threshold, and at the one in use. Further up and to the right is better."
    yield (
        _figure(precision_recall_plot(curves), "Precision and recall", f"{text} {BAND}")
        or "<p>No precision–recall curve: no picture is defective.</p>"
    )
    text = "The same against the good pictures rejected. Further up and to the left is better."
    yield _figure(roc_plot(curves), "Recall and false alarms (ROC)", f"{text} {BAND}")


def _scores(pictures: Sequence[Picture], decision: DecisionRule, has_head: bool) -> Iterator[str]:
    for judge in judges(decision, has_head):
        yield _figure(
            score_plot(pictures, judge.score, judge.threshold),
            f"Scores of the {judge.full_name}, by truth",
            f"The dashed line is the threshold, {threshold_text(judge.threshold)}. Good pictures "
            "right of it are false alarms, defective ones left of it misses.",
        )
    yield _figure(
        reliability_plot(pictures, decision.temperature),
        "Does the score mean what it says?",
        "Of pictures with a score of 0.9, nine in ten should be defective. Larger marks stand for "
        "more pictures; ECE is the mean distance from the dotted line.",
    )


def _slices(slices: Sequence[Slice]) -> Iterator[str]:
    for kind, of in (("size", "size of the defect"), ("class", "class of defect")):
        text = "Share of the defective pictures that the score rejects; n is their number."
        yield _figure(slice_plot(slices, kind), f"Recall by {of}", text)


def _run(history: Sequence[dict]) -> Iterator[str]:
    text = "Loss of the training batches and scores of the validation pictures, by step."
    yield _figure(training_plot(history), "Training", text)
    text = (
        "What each task's gradient weighs, how long it is over the shared parameters before it is "
        "weighed, whether the task lags, and whether the tasks agree."
    )
    yield _figure(balance_plot(history), "Balance of the tasks", text)


def _figure(made: tuple[str, str], heading: str, text: str) -> str:
    drawing, tables = made
    if not drawing:
        return ""
    label = escape(f"{heading}. {text}")
    return (
        f'<figure class="plot"><figcaption><strong>{escape(heading)}</strong> '
        f'{escape(text)}</figcaption><div role="img" aria-label="{label}">{drawing}</div>'
        f"{folded(tables)}</figure>"
    )
