"""How far a decision holds: the test images under graded disturbances, at fixed thresholds."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

import defect_jax
from defect_jax.data.distortions.disturbance import Disturbance, disturbed
from defect_jax.data.distortions.kinds import KINDS, Kind
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.pipeline.loading import decoded
from defect_jax.data.prepare.prepared import Prepared, Split
from defect_jax.decision import DecisionRule
from defect_jax.decision.apply import Thresholds
from defect_jax.decision.limits import JudgedGrade, limits_of, standing
from defect_jax.distributed import processes
from defect_jax.distributed.sharding import make_mesh
from defect_jax.evaluation.evaluator import Evaluate, make_evaluator
from defect_jax.evaluation.publish import pruned, shown
from defect_jax.evaluation.result_tables import to_images, to_parts
from defect_jax.evaluation.stress_files import (
    FOLDER,
    UNDISTURBED,
    KeptPasses,
    pass_name,
    table_text,
)
from defect_jax.metrics.images import ImageRow
from defect_jax.metrics.stress import ErrorRates, error_rates, got_worse, in_view
from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import Ensemble
from defect_jax.report.stress_page import Sample, StressPage, render_stress
from defect_jax.report.stress_words import summary
from defect_jax.report.verdict import have_several_images
from defect_jax.runtime import atomic_files
from defect_jax.runtime.console import say, track
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import kept_split, run_config
from defect_jax.workdir.best_weights import (
    decision_for,
    read_history,
    restore_shipped,
    selection_scores,
)
from defect_jax.workdir.fingerprints import fingerprints
from defect_jax.workdir.trained_data import data_to_judge_on

SPLIT = "test"
SECTIONS = ("data", "data_info", "evaluation", "model")  # of a config that change a pass
PASSES = {pass_name(kind, grade): (kind, grade) for kind in KINDS for grade in kind.grades}


def stress(config: ConfigDict, workdir: AnyPath) -> StressPage | None:
    """Restore the best checkpoint and its decision, judge the test split under each grade of each
    disturbance, and write eval/stress.

    Nothing is chosen: thresholds are those of `decision.json`. A pass that was finished with the
    same weights, thresholds and images is not made again.

    Args:
        config: resolved, as in the workdir's config.json.
        workdir: of a trained network.

    Returns:
        What the page shows; None on hosts other than the first.

    Raises:
        UserError: there is no trained network, no decision of it, or no test split.
    """
    refuse_no_test_split(workdir)
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
    scores = selection_scores(processes.from_first(lambda: read_history(workdir)))
    step, ema = restore_shipped(config, workdir, scores, mesh)
    rule = decision_for(workdir, step, config.model.prune, config.decision.to_dict())
    if rule is None:
        raise UserError(
            f"{workdir}: holds no decision for its checkpoint {step}; run --mode=evaluate first"
        )
    prepared = data_to_judge_on(config, workdir, {SPLIT})
    split, spec = prepared.splits[SPLIT], InputSpec.of(config)
    kept = KeptPasses(workdir / "eval" / FOLDER / "passes", made_with(config, ema, rule, prepared))
    evaluate = make_evaluator(SegmentationNetwork(**config.model), split, config, mesh)
    say(f"stress: step {step}, thresholds from {rule.chosen_on}: {shown(rule)}")
    run_passes(evaluate, split, spec, ema, rule, kept)
    if not processes.is_first():
        return None
    title = f"{config.data.name}, step {step}{pruned(config.model.prune)}"
    return publish(workdir / "eval" / FOLDER, title, split, spec, rule, kept)


def refuse_no_test_split(workdir: AnyPath) -> None:
    """Refuse a run that judges on its folds alone.

    Raises:
        UserError: saying what would help.
    """
    if SPLIT not in kept_split.judged(workdir):
        raise UserError(
            f"{workdir}: --mode=stress needs a test split, and this run on folds has none: train "
            "one with config.data.folds=0, or fix a test split in the data"
        )


def made_with(
    config: ConfigDict, ema: Variables | Ensemble, rule: DecisionRule, prepared: Prepared
) -> dict[str, Any]:
    """Return all that a pass depends on; weights by their fingerprints."""
    fields = run_config.without_places(config).to_dict()
    return {
        "version": defect_jax.__version__,
        "config": {section: fields[section] for section in SECTIONS},
        "weights": fingerprints(ema),
        "decision": dataclasses.asdict(rule),
        "images": [list(row) for row in prepared.splits[SPLIT].rows],
    }


def run_passes(
    evaluate: Evaluate,
    split: Split,
    spec: InputSpec,
    ema: Variables | Ensemble,
    rule: DecisionRule,
    kept: KeptPasses,
) -> None:
    """Judge the split as it is, and once a grade; the programs are compiled once for all.

    Every host takes part, and the first one keeps what is found.
    """
    names, thresholds = [UNDISTURBED, *PASSES], Thresholds.of(rule)
    done = processes.from_first(lambda: kept.names(names))
    if processes.is_first():
        kept.clear_others()
    if done:
        say(f"stress: {len(done)} of {len(names)} passes are there from before")
    missing = [name for name in names if name not in done]
    for name in track(missing, "passes", len(missing)):
        disturbance = Disturbance(*PASSES[name], spec) if name in PASSES else None
        judged = disturbed(split, disturbance)
        evaluate = evaluate.on(judged)
        scores = evaluate(ema, thresholds)
        if processes.is_first():
            kept.write(name, to_images(judged, scores, rule))


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
        decision=rule,
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

    def sample(kind: Kind, grade: float):
        shown = decoded(disturbed(split, Disturbance(kind, grade, spec)), middle, spec)
        return split.rows[middle].id, shown.image, shown.mask > 0

    return sample
