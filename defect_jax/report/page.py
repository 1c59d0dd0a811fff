"""report.html: what was missed and what rejected in vain, by which rule, with the images."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from defect_jax.decision import DecisionRule
from defect_jax.decision.ways import WAYS
from defect_jax.metrics.class_counts import ClassPixels
from defect_jax.metrics.images import ImageRow
from defect_jax.metrics.parts import Part
from defect_jax.metrics.slices import Slice
from defect_jax.report import figures
from defect_jax.report.classes import class_section
from defect_jax.report.decision_heads import decision_heads
from defect_jax.report.gallery import IMAGES_A_SECTION, LoadImage, gallery, sections
from defect_jax.report.render import render_page
from defect_jax.report.slider import slider_data, to_json
from defect_jax.report.tables import EVERY_MEANING, GROUPS, metric_keys
from defect_jax.report.verdict import (
    have_several_images,
    in_words,
    mistakes_of,
    sentence,
    sequential,
    trust,
    verdicts,
    who_decides,
)
from defect_jax.runtime import atomic_files
from defect_jax.runtime.paths import AnyPath

MOST_CHARACTERS = 200  # of a text in the config
STYLES = ("page.css", "tables.css", "classes.css", "controls.css", "gallery.css")


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything that the page shows.

    Attributes:
      title: of the page, for example the data set and the step.
      split: of these images.
      metrics: the contents of metrics.json.
      decision: the rule that was applied.
      images: the rows of predictions.csv; at least one.
      notes: what the reader must know of the data; those that speak of leaking become a warning.
      history: the lines of metrics.jsonl; may be empty.
      config: of the run, shown folded.
      load_image: id -> image [h w c] of 8 or 16 bits, true mask [h w], predicted mask [h w];
        called once for each image that is shown. Masks are bool, or hold the class of each pixel.
      parts: decisions on whole parts, where they were photographed more than once.
      slices: recall by class and by size.
      written: when, as text.
      classes: pixels by true and decided class; None where there is one class of defect.
      decided_by_others: whether thresholds that other images chose decided on each of these, while
        those of `decision` were chosen on all of them.
      stress: address of the page of a stress test, from this one; empty without one.
    """

    title: str
    split: str
    metrics: Mapping[str, int | float | None]
    decision: DecisionRule
    images: list[ImageRow]
    notes: list[str]
    history: list[dict]
    config: dict[str, Any]
    load_image: LoadImage
    parts: list[Part] = dataclasses.field(default_factory=list)
    slices: list[Slice] = dataclasses.field(default_factory=list)
    classes: ClassPixels | None = None
    written: str = ""
    decided_by_others: bool = False
    stress: str = ""

    @property
    def has_head(self) -> bool:
        """Return whether there is a classification head; without one, `score` is the mask's own."""
        return any(image.score != image.mask_score for image in self.images)


def write_report(path: AnyPath | str, report: Report) -> None:
    """Write the page, whole or not at all."""
    atomic_files.write_text(path, render(report))


def verdict_lines(report: Report) -> list[str]:
    """Return the verdicts that the page begins with, a line each, for a terminal."""
    heads = decision_heads(report.decision, report.has_head)
    return [in_words(v) for v in verdicts(report.images, report.parts, report.metrics, heads)]


def render(report: Report) -> str:
    """Return the page as one HTML text."""
    images, decision = report.images, report.decision
    heads = decision_heads(decision, report.has_head)
    slider = slider_data(images, heads[0])
    data = to_json(slider)
    names = report.classes.names if report.classes else ()
    found = verdicts(images, report.parts, report.metrics, heads)
    warnings = _warnings(report)
    of_parts = [part.label for part in report.parts] or [image.label for image in images]
    chosen = sections(images, heads)
    return render_page(
        "report.html",
        report.title,
        ("viewer.js", "page.js"),
        STYLES,
        data=data,
        warnings=warnings,
        about=_about(report),
        sentence=sentence(found[0]),
        trust=[
            *who_decides(decision),
            *trust(sum(of_parts), bool(warnings), decision.promise is not None),
        ],
        notes=[note for note in report.notes if not _is_leak(note)],
        split=report.split,
        stress=report.stress,
        images=len(images),
        defective=sum(image.label for image in images),
        decision=decision,
        heads=heads,
        has_head=report.has_head,
        way=WAYS[decision.decides].words,
        mistakes=[mistakes_of(head, images) for head in heads],
        verdicts=found,
        sequential=sequential(report.parts),
        slider=slider,
        classes=class_section(report.classes, report.metrics),
        figures=figures.figures(images, heads, decision.temperature, report.slices, report.history),
        gallery=gallery(chosen, images, heads, decision, report.load_image, len(data), names),
        shown_first=IMAGES_A_SECTION,
        metrics=report.metrics,
        metric_keys=metric_keys(report.metrics),
        meanings=EVERY_MEANING,
        groups=GROUPS,
        config_json=json.dumps(shortened(report.config), indent=2, default=str),
        decision_json=json.dumps(dataclasses.asdict(decision), indent=2),
    )


def _about(report: Report) -> str:
    """Return of how many parts the images are, and when the page was written."""
    several = have_several_images(report.parts)
    parts = f", of {len(report.parts):,} parts" if several else ""
    return f"{parts}; judged on {report.written}" if report.written else parts


def _is_leak(note: str) -> bool:
    return note.lower().startswith("leak")


def _warnings(report: Report) -> list[str]:
    texts = [note for note in report.notes if _is_leak(note)]
    if texts:
        texts[-1] += " The figures on this page are too good to be true for new parts."
    if report.decision.note:
        texts.append(report.decision.note)
    if report.decision.chosen_on == report.split and not report.decided_by_others:
        texts.append(
            "The thresholds were chosen on these very images, so the mistakes counted here are "
            "fewer than those to expect on new ones."
        )
    return texts


def shortened(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config whose long texts, such as a region, are cut off.

    >>> shortened({"data": {"region": "x" * 300}})["data"]["region"][-18:]
    'xx… 300 characters'
    """

    def cut(value: Any) -> Any:
        if isinstance(value, Mapping):
            return shortened(value)
        is_long = isinstance(value, str) and len(value) > MOST_CHARACTERS
        return f"{value[:MOST_CHARACTERS]}… {len(value)} characters" if is_long else value

    return {name: cut(value) for name, value in values.items()}
