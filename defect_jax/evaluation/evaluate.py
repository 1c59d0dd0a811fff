"""From a trained network to decisions, files and the report: the second half of every run."""

from ml_collections import ConfigDict

from defect_jax.data.prepare.folds import OUT_OF_FOLD
from defect_jax.data.sources.records import SPLITS
from defect_jax.decision.apply import Thresholds
from defect_jax.distributed import processes
from defect_jax.distributed.sharding import make_mesh
from defect_jax.evaluation.evaluate_folds import decision_of_folds, evaluate_folds
from defect_jax.evaluation.evaluator import Scores, make_evaluator
from defect_jax.evaluation.keep_known import keep_known
from defect_jax.evaluation.publish import keep_decision, pruned, publish, shown
from defect_jax.evaluation.result_files import ResultFolder
from defect_jax.evaluation.result_tables import ResultTables, tabulate
from defect_jax.evaluation.stress_files import page_of
from defect_jax.evaluation.validation import decide_on_validation
from defect_jax.metrics.summary import Metrics
from defect_jax.models.network import SegmentationNetwork
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import kept_split, locks
from defect_jax.workdir.best_weights import (
    decision_for,
    read_history,
    restore_shipped,
    selection_scores,
)
from defect_jax.workdir.trained_data import data_to_judge_on


def evaluate(config: ConfigDict, workdir: AnyPath, split: str = "test") -> Metrics | None:
    """Restore the best checkpoint, decide on every image of a split, write metrics and report.

    The decision comes from `decision.json`; where that is missing, or belongs to another checkpoint
    or another `config.decision`, it is made first, from the validation split alone. The splits are
    those that the network was trained with, whatever the data have become since. What the network
    knows is looked up in the images of training and validation once, where these are there.

    Args:
        config: resolved, as in the workdir's config.json.
        workdir: of a trained network.
        split: train, val or test, or "folds" of a cross-fitted run. The report of the test split
            is eval/report.html, that of another is in its own folder.

    Returns:
        The contents of eval/<split>/metrics.json; None on hosts other than the first.
    """
    refuse_unknown_split(config, workdir, split)
    if split == OUT_OF_FOLD:
        return evaluate_folds(config, workdir)
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
    history = processes.from_first(lambda: read_history(workdir))
    network = SegmentationNetwork(**config.model)
    scores = selection_scores(history)
    step, ema = restore_shipped(config, workdir, scores, mesh)
    if config.data.folds:
        made = decision_of_folds(config, workdir, mesh)
    else:
        made = decision_for(workdir, step, config.model.prune, config.decision.to_dict())
    prepared = data_to_judge_on(config, workdir, {split} if made else {"val", split})
    if not made:
        compared = max(1, len(scores))
        made = decide_on_validation(
            network, ema, prepared.splits["val"], config, mesh, step, compared
        )
        if processes.is_first():
            with locks.results(workdir):
                keep_decision(made, config, workdir)
    keep_known(config, workdir, step, ema, mesh)
    judged = prepared.splits[split]
    evaluate_split, thresholds = make_evaluator(network, judged, config, mesh), Thresholds.of(made)
    say(f"{split}: step {step}, thresholds from {made.chosen_on}: {shown(made)}")
    if not processes.is_first():
        evaluate_split(ema, thresholds)  # every host takes part, one writes
        return None
    results = ResultFolder(workdir / "eval" / split)

    def judge() -> tuple[ResultTables, Scores]:
        on_mask = results.mask_of(judged, list(config.data_info.classes))
        found = evaluate_split(ema, thresholds, on_mask, shown=True)
        return tabulate(judged, found, made, config.data_info, prepared.info.leaking), found

    return publish(
        config,
        workdir,
        results,
        (workdir / "eval" if split == "test" else results.final) / "report.html",
        judged,
        judge,
        title=f"{config.data.name}, step {step}{pruned(config.model.prune)}",
        split=split,
        decision=made,
        notes=list(prepared.info.notes),
        history=history,
        stress=page_of(workdir, made) if split == "test" else "",
    )


def refuse_unknown_split(config: ConfigDict, workdir: AnyPath, split: str) -> None:
    """Refuse a split that a workdir has not.

    Raises:
        UserError: naming those that it has.
    """
    splits = kept_split.judged(workdir) if config.data.folds else list(SPLITS)
    if split not in splits:
        raise UserError(
            f"--split={split}: {workdir}, with config.data.folds={config.data.folds}, is judged on "
            f"{' or '.join(splits)}"
        )
