"""From the passes of a stress test to its table and its page."""

import time
from collections.abc import Sequence

import numpy as np

from defect_jax.data.distortions.disturbance import Disturbance, disturbed
from defect_jax.data.distortions.kinds import KINDS, Kind
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.pipeline.loading import decoded
from defect_jax.data.prepare.prepared import Split
from defect_jax.decision import DecisionRule
from defect_jax.decision.limits import JudgedGrade, limits_of, standing
from defect_jax.evaluation.result_tables import to_parts
from defect_jax.evaluation.stress_files import UNDISTURBED, KeptPasses, pass_name, table_text
from defect_jax.metrics.images import ImageRow
from defect_jax.metrics.stress import ErrorRates, error_rates, got_worse, in_view
from defect_jax.report.stress_page import Sample, StressPage, render_stress
from defect_jax.report.stress_words import summary
from defect_jax.report.verdict import have_several_images
from defect_jax.runtime import atomic_files
from defect_jax.runtime.console import say
from defect_jax.runtime.paths import AnyPath


def publish(
    folder: AnyPath,
    title: str,
    split: Split,
    spec: InputSpec,
    rule: DecisionRule,
    kept: KeptPasses,
) -> StressPage:
    """Judge all passes, and write table, page and the decision that they were made with."""
    before = kept.read(UNDISTURBED)
    whole_parts = have_several_images(to_parts(before, rule))
    limits = limits_of(rule, rates_of(before, rule, whole_parts))

    def judged(grade: float, name: str) -> JudgedGrade:
        images = in_view(before, kept.read(name))
        rates = rates_of(images, rule, whole_parts)
        worse = [got_worse(before, images, label) for label in (1, 0)]
        return JudgedGrade(
            grade,
            rates,
            rates_of(images, rule, whole_parts=False),
            *map(standing, rates, limits, worse),
            left_out=len(before) - len(images),
        )

    page = StressPage(
        title=title,
        things="parts" if whole_parts else "images",
        images=len(before),
        undisturbed=judged(0.0, UNDISTURBED),
        limits=limits,
        kinds=[
            (kind, [judged(grade, pass_name(kind, grade)) for grade in kind.grades])
            for kind in KINDS
        ],
        sample=sample_of(split, spec),
        written=time.strftime("%Y-%m-%d %H:%M"),
    )
    atomic_files.write_text(folder / "stress.csv", table_text(page.undisturbed, page.kinds))
    atomic_files.write_text(folder / "stress.html", render_stress(page))
    rule.to_json(folder / "decision.json")
    for sentence in summary(page.kinds):
        say(f"stress: {sentence}")
    say(f"wrote {folder / 'stress.csv'} and {folder / 'stress.html'}")
    return page


def rates_of(images: Sequence[ImageRow], rule: DecisionRule, whole_parts: bool) -> ErrorRates:
    """Return the mistakes on images by the verdict, or on parts by all their images."""
    if whole_parts:
        parts = to_parts(images, rule)
        rows = [(part.label, part.decision, part.group) for part in parts]
    else:
        rows = [(image.label, image.rejected, image.group) for image in images]
    return error_rates(*zip(*rows, strict=True))


def sample_of(split: Split, spec: InputSpec) -> Sample:
    """Return what shows one image under a disturbance: that with the middle one of all defects."""
    rows = sorted(range(len(split.rows)), key=lambda row: split.rows[row].defect_px)
    defective = [row for row in rows if split.rows[row].defect_px] or rows
    middle = defective[len(defective) // 2]

    def sample(kind: Kind, grade: float) -> tuple[str, np.ndarray, np.ndarray]:
        shown = decoded(disturbed(split, Disturbance(kind, grade, spec)), middle, spec)
        return split.rows[middle].id, shown.image, shown.mask > 0

    return sample
