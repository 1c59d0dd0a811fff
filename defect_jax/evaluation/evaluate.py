"""From a trained network to decisions, files and the report: the second half of every run."""

import contextlib
import time

from ml_collections import ConfigDict

from defect_jax.data.prepare.folds import OUT_OF_FOLD
from defect_jax.data.sources.records import SPLITS
from defect_jax.decision.apply import Thresholds
from defect_jax.distributed import processes
from defect_jax.distributed.sharding import make_mesh
from defect_jax.evaluation.evaluate_folds import decision_of_folds, evaluate_folds
from defect_jax.evaluation.evaluator import make_evaluator
from defect_jax.evaluation.published import class_pixels, keep_decision, pruned, shown
from defect_jax.evaluation.result_files import ResultFolder, image_loader
from defect_jax.evaluation.result_tables import tabulate
from defect_jax.evaluation.suspects import in_words, write_suspects
from defect_jax.evaluation.validation import decide_on_validation
from defect_jax.metrics.summary import Metrics
from defect_jax.models.network import SegmentationNetwork
from defect_jax.report.page import Report, verdict_lines, write_report
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import kept_split, locks, run_config
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
    those that the network was trained with, whatever the data have become since. Training images
    are not needed.

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
    judged = prepared.splits[split]
    evaluate_split, thresholds = make_evaluator(network, judged, config, mesh), Thresholds.of(made)
    say(f"{split}: step {step}, thresholds from {made.chosen_on}: {shown(made)}")
    if not processes.is_first():
        evaluate_split(ema, thresholds)  # every host takes part, one writes
        return None
    classes = list(config.data_info.classes)
    results = ResultFolder(workdir / "eval" / split)
    path = (workdir / "eval" if split == "test" else results.final) / "report.html"
    with contextlib.ExitStack() as publishing:
        with results:
            scores = evaluate_split(ema, thresholds, results.mask_of(judged, classes), shown=True)
            tables = tabulate(judged, scores, made, config.data_info, prepared.info.leaking)
            results.write_tables(tables)
            suspects = None
            if split != "train":  # a network believes every label that it has learnt
                load = image_loader(judged, results.folder, classes)
                given = results.folder, config.data.name, split
                suspects = write_suspects(*given, tables.images, scores.images, load)
            # Until the page is written: all files are then those of one evaluation, also where
            # another one chose a decision of its own meanwhile.
            publishing.enter_context(locks.results(workdir))
            keep_decision(made, config, workdir)
        report = Report(
            title=f"{config.data.name}, step {step}{pruned(config.model.prune)}",
            split=split,
            decision=made,
            **tables._asdict(),
            notes=list(prepared.info.notes),
            history=history,
            config=run_config.without_places(config).to_dict(),
            load_image=image_loader(judged, results.final, classes),
            classes=class_pixels(scores, classes),
            written=time.strftime("%Y-%m-%d %H:%M"),
        )
        write_report(path, report)
    for line in verdict_lines(report):
        say(f"{split}: {line}")
    if suspects is not None:
        say(in_words(suspects, results.final))
    say(f"wrote {results.final} and {path}")
    return tables.metrics


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
