"""How far a decision holds: the test images under graded disturbances, at fixed thresholds."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

import defect_jax
from defect_jax.data.distortions.disturbance import Disturbance, disturbed
from defect_jax.data.distortions.kinds import KINDS
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.prepare.prepared import Split
from defect_jax.decision import DecisionRule
from defect_jax.decision.apply import Thresholds
from defect_jax.distributed import processes
from defect_jax.distributed.sharding import make_mesh
from defect_jax.evaluation.evaluator import Evaluator, make_evaluator
from defect_jax.evaluation.publish import pruned, shown
from defect_jax.evaluation.result_tables import to_images
from defect_jax.evaluation.stress_files import FOLDER, UNDISTURBED, KeptPasses, pass_name
from defect_jax.evaluation.stress_results import publish
from defect_jax.evaluation.tiled_evaluator import TiledEvaluator
from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import Ensemble
from defect_jax.report.stress_page import StressPage
from defect_jax.runtime.console import say, track
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import kept_split
from defect_jax.workdir.best_weights import (
    decision_for,
    read_history,
    restore_shipped,
    selection_scores,
)
from defect_jax.workdir.fingerprints import fingerprints
from defect_jax.workdir.trained_data import data_to_judge_on

SPLIT = "test"
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
    key = made_with(config, split, spec, ema, rule)
    kept = KeptPasses(workdir / "eval" / FOLDER / "passes", key)
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
    config: ConfigDict, split: Split, spec: InputSpec, ema: Variables | Ensemble, rule: DecisionRule
) -> dict[str, Any]:
    """Return all that a pass depends on; weights by their fingerprints."""
    return {
        "version": defect_jax.__version__,
        "model": config.model.to_dict(),
        "evaluation": config.evaluation.to_dict(),
        "input": dataclasses.asdict(spec),
        "weights": fingerprints(ema),
        "decision": dataclasses.asdict(rule),
        "images": [list(row) for row in split.rows],
    }


def run_passes(
    evaluate: Evaluator | TiledEvaluator,
    split: Split,
    spec: InputSpec,
    ema: Variables | Ensemble,
    rule: DecisionRule,
    kept: KeptPasses,
) -> None:
    """Judge the split as it is, and once a grade.

    Two programs are compiled, that of the evaluation and one that is told what came in where parts
    moved. Every host takes part, and the first one keeps what is found.
    """
    names, thresholds = [UNDISTURBED, *PASSES], Thresholds.of(rule)
    done = processes.from_first(lambda: kept.names(names))
    if processes.is_first():
        kept.clear_others()
    if done:
        say(f"stress: {len(done)} of {len(names)} passes are there from before")
    missing = [name for name in names if name not in done]
    for name in track(missing, "passes", len(missing)) if missing else ():
        disturbance = Disturbance(*PASSES[name], spec) if name in PASSES else None
        judged = disturbed(split, disturbance)
        evaluate = evaluate.on(judged)
        scores = evaluate(ema, thresholds)
        if processes.is_first():
            kept.write(name, to_images(judged, scores, rule))
