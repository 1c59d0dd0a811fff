"""report.html: what was missed and what rejected in vain, by which rule, with the pictures."""

import dataclasses
import json
from collections.abc import Mapping
from html import escape
from string import Template
from typing import Any

from defect_jax import atomic
from defect_jax.decision import DecisionRule
from defect_jax.metrics.class_counts import ClassPixels
from defect_jax.metrics.parts import Part
from defect_jax.metrics.picture import Picture
from defect_jax.metrics.slices import Slice
from defect_jax.paths import AnyPath
from defect_jax.report import figures, slider, tables
from defect_jax.report.class_section import class_section
from defect_jax.report.document import FILES, document, warnings
from defect_jax.report.gallery import LoadPicture, gallery, sections
from defect_jax.report.judges import judges
from defect_jax.report.verdict import verdict


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
        """False when `score` is the mask's own, because the network has no classification head."""
        return any(picture.score != picture.mask_score for picture in self.pictures)


def write_report(path: AnyPath | str, report: Report) -> None:
    """Writes the page, whole or not at all."""
    atomic.write_text(path, render(report))


def render(report: Report) -> str:
    """The page as one HTML text."""
    pictures, decision, has_head = report.pictures, report.decision, report.has_head
    deciding = judges(decision, has_head)
    data = slider.to_json(slider.slider_data(pictures, decision, has_head))
    chosen = sections(pictures, deciding)
    names = report.classes.names if report.classes else ()
    body = Template(FILES.joinpath("page.html").read_text("utf-8")).substitute(
        warnings=warnings(_warnings(report)),
        verdict=verdict(pictures, report.parts, report.metrics, decision, report.split, has_head),
        slider=slider.slider(pictures, decision, has_head),
        confusion=tables.confusions(pictures, decision, has_head),
        classes=class_section(report.classes, report.metrics),
        plots=figures.figures(pictures, decision, has_head, report.slices, report.history),
        gallery=gallery(chosen, pictures, deciding, report.load_picture, len(data), names),
        metrics=tables.metrics_table(report.metrics),
        notes=_notes(report.notes),
        config=escape(json.dumps(report.config, indent=2, default=str)),
        decision=escape(json.dumps(dataclasses.asdict(decision), indent=2)),
    )
    styles = ("page.css", "tables.css", "classes.css", "controls.css", "gallery.css")
    return document(report.title, body, ("viewer.js", "page.js"), styles, data)


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


def _notes(notes: list[str]) -> str:
    plain = [note for note in notes if not _is_leak(note)]
    if not plain:
        return ""
    items = "\n".join(f"<li>{escape(note)}</li>" for note in plain)
    return f"<h2>About the data</h2>\n<ul>\n{items}\n</ul>"
