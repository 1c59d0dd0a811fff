"""report.html: what was missed and what rejected in vain, by which rule, with the pictures."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from defect_jax.decision import DecisionRule
from defect_jax.metrics.class_counts import ClassPixels
from defect_jax.metrics.images import Picture
from defect_jax.metrics.parts import Part
from defect_jax.metrics.slices import Slice
from defect_jax.report import figures
from defect_jax.report.classes import class_section
from defect_jax.report.decision_heads import decision_heads
from defect_jax.report.gallery import PICTURES_A_SECTION, LoadPicture, gallery, sections
from defect_jax.report.render import render_page
from defect_jax.report.slider import slider_data, to_json
from defect_jax.report.tables import EVERY_MEANING, GROUPS, metric_keys
from defect_jax.report.verdict import mistakes_of, sequential, verdicts
from defect_jax.runtime import atomic_files
from defect_jax.runtime.paths import AnyPath

STYLES = ("page.css", "tables.css", "classes.css", "controls.css", "gallery.css")


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything that the page shows.

    Attributes:
      title: of the page, for example the data set and the step.
      split: of these pictures.
      metrics: the contents of metrics.json.
      decision: the rule that was applied.
      pictures: the rows of predictions.csv; at least one.
      notes: what the reader must know of the data; those that speak of leaking become a warning.
      history: the lines of metrics.jsonl; may be empty.
      config: of the run, shown folded.
      load_picture: id -> image [h w c] of 8 or 16 bits, true mask [h w], predicted mask [h w];
        called once for each picture that is shown. Masks are bool, or hold the class of each pixel.
      parts: decisions on whole parts, where they were photographed more than once.
      slices: recall by class and by size.
      classes: pixels by true and decided class; None where there is one class of defect.
    """

    title: str
    split: str
    metrics: Mapping[str, int | float | None]
    decision: DecisionRule
    pictures: list[Picture]
    notes: list[str]
    history: list[dict]
    config: dict[str, Any]
    load_picture: LoadPicture
    parts: list[Part] = dataclasses.field(default_factory=list)
    slices: list[Slice] = dataclasses.field(default_factory=list)
    classes: ClassPixels | None = None

    @property
    def has_head(self) -> bool:
        """Return whether there is a classification head; without one, `score` is the mask's own."""
        return any(picture.score != picture.mask_score for picture in self.pictures)


def write_report(path: AnyPath | str, report: Report) -> None:
    """Write the page, whole or not at all."""
    atomic_files.write_text(path, render(report))


def render(report: Report) -> str:
    """Return the page as one HTML text."""
    pictures, decision = report.pictures, report.decision
    heads = decision_heads(decision, report.has_head)
    slider = slider_data(pictures, heads[0])
    data = to_json(slider)
    names = report.classes.names if report.classes else ()
    chosen = sections(pictures, heads)
    return render_page(
        "report.html",
        report.title,
        ("viewer.js", "page.js"),
        STYLES,
        data=data,
        warnings=_warnings(report),
        notes=[note for note in report.notes if not _is_leak(note)],
        split=report.split,
        pictures=len(pictures),
        defective=sum(picture.label for picture in pictures),
        decision=decision,
        heads=heads,
        has_head=report.has_head,
        mistakes=[mistakes_of(head, pictures) for head in heads],
        verdicts=verdicts(pictures, report.parts, report.metrics, heads),
        sequential=sequential(report.parts),
        slider=slider,
        classes=class_section(report.classes, report.metrics),
        figures=figures.figures(
            pictures, heads, decision.temperature, report.slices, report.history
        ),
        gallery=gallery(chosen, pictures, heads, report.load_picture, len(data), names),
        shown_first=PICTURES_A_SECTION,
        metrics=report.metrics,
        metric_keys=metric_keys(report.metrics),
        meanings=EVERY_MEANING,
        groups=GROUPS,
        config_json=json.dumps(report.config, indent=2, default=str),
        decision_json=json.dumps(dataclasses.asdict(decision), indent=2),
    )


def _is_leak(note: str) -> bool:
    return "leak" in note.lower()


def _warnings(report: Report) -> list[str]:
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
    return texts
