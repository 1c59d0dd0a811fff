"""report.html: what was missed, what was rejected in vain, at which rule, and the pictures of it.

One file without any address in it: it opens from a mail, a USB stick or a network that lets
nothing out. A policy in the page forbids the browser to load anything from elsewhere.
"""

import dataclasses
import json
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import defect_jax
from defect_jax import atomic
from defect_jax.decision import Decision
from defect_jax.metrics.picture import Picture
from defect_jax.report import balance_plot, gallery, plots, tables


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything that the page shows.

    Attributes:
      title: of the page, for example the data set and the step.
      split: of these pictures.
      metrics: the contents of metrics.json.
      decision: the rule that was applied.
      pictures: the rows of predictions.csv.
      notes: what the reader must know of the data; those that speak of leaking become a warning.
      history: the lines of metrics.jsonl; may be empty.
      config: of the run, shown folded.
      load_picture: id -> image [h w c] of 8 or 16 bits, true mask [h w], predicted mask [h w];
        called for the pictures of the gallery alone.
    """

    title: str
    split: str
    metrics: Mapping[str, int | float | None]
    decision: Decision
    pictures: list[Picture]
    notes: list[str]
    history: list[dict]
    config: dict[str, Any]
    load_picture: gallery.LoadPicture

    @property
    def has_head(self) -> bool:
        """False when `score` is the mask's own, because the network has no classification head."""
        return any(picture.score != picture.mask_score for picture in self.pictures)


def write_report(path: Path | str, report: Report) -> None:
    """Writes the page, whole or not at all."""
    atomic.write_text(path, render(report))


def render(report: Report) -> str:
    """The page as one HTML text."""
    folder = resources.files("defect_jax.report")
    return Template(folder.joinpath("page.html").read_text("utf-8")).substitute(
        title=escape(report.title),
        css=folder.joinpath("page.css").read_text("utf-8"),
        warnings=_warnings(report),
        verdict=tables.verdict(report.pictures, report.split, report.decision, report.has_head),
        confusion=tables.confusions(report.pictures, report.has_head),
        plots=_plots(report),
        key_figures=tables.key_figures(report.metrics),
        metrics=tables.metrics_table(report.metrics),
        gallery=gallery.gallery_html(
            gallery.sections(report.pictures, report.decision, report.has_head),
            report.load_picture,
            report.has_head,
        ),
        notes=_notes(report.notes),
        config=escape(json.dumps(report.config, indent=2, default=str)),
        decision=escape(json.dumps(dataclasses.asdict(report.decision), indent=2)),
        version=escape(defect_jax.__version__),
    )


def _is_leak(note: str) -> bool:
    return "leak" in note.lower()


def _warnings(report: Report) -> str:
    """What makes the figures below worth less than they look."""
    texts = [note for note in report.notes if _is_leak(note)]
    if texts:
        texts[-1] += " The figures on this page are too good to be true for new parts."
    if report.decision.note:
        texts.append(report.decision.note)
    if report.decision.chosen_on == report.split:
        texts.append(
            "The thresholds were chosen on these very pictures, so the mistakes counted here are "
            "fewer than those to expect on new ones."
        )
    return "\n".join(
        f'<p class="warning" role="note"><strong>Warning.</strong> {escape(text)}</p>'
        for text in texts
    )


def _notes(notes: list[str]) -> str:
    plain = [note for note in notes if not _is_leak(note)]
    if not plain:
        return ""
    items = "\n".join(f"<li>{escape(note)}</li>" for note in plain)
    return f"<h2>About the data</h2>\n<ul>\n{items}\n</ul>"


def _plots(report: Report) -> str:
    pictures, decision = report.pictures, report.decision
    curve = plots.precision_recall_plot(pictures, decision, report.has_head)
    figures = [
        _figure(
            curve,
            "Precision and recall",
            "At every threshold, and at the one in use. Further up and to the right is better.",
        )
        if curve
        else "<p>No precision–recall curve: no picture is defective.</p>"
    ]
    scored = [("mask_score", decision.mask_threshold, "the mask")]
    if report.has_head:
        scored.insert(0, ("score", decision.threshold, "the classification head"))
    for field, threshold, who in scored:
        figures.append(
            _figure(
                plots.score_plot(pictures, field, threshold),
                f"Scores of {who}, by truth",
                f"The dashed line is the threshold, {threshold:.3f}. Good pictures right of it "
                "are false alarms, defective ones left of it misses.",
            )
        )
    training = plots.training_plot(report.history)
    if training:
        text = "Loss of the training batches and scores of the validation pictures, by step."
        figures.append(_figure(training, "Training", text))
    balance = balance_plot.balance_plot(report.history)
    if balance:
        text = (
            "What each task's gradient weighs, how long it is over the shared parameters before it "
            "is weighed, whether the task lags, and whether the tasks agree."
        )
        figures.append(_figure(balance, "Balance of the tasks", text))
    return "\n".join(figures)


def _figure(svg: str, heading: str, text: str) -> str:
    label = escape(f"{heading}. {text}")
    return (
        f'<figure class="plot"><figcaption><strong>{escape(heading)}</strong> '
        f'{escape(text)}</figcaption><div role="img" aria-label="{label}">{svg}</div></figure>'
    )
