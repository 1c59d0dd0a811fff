"""What every evaluation publishes: tables, suspects, the decision and the report; its words."""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict

from defect_jax.data.prepare.prepared import Split
from defect_jax.decision import DecisionRule
from defect_jax.decision.ways import WAYS
from defect_jax.evaluation.evaluator import Scores
from defect_jax.evaluation.result_files import ResultFolder, image_loader
from defect_jax.evaluation.result_tables import ResultTables
from defect_jax.evaluation.suspects import in_words, write_suspects
from defect_jax.metrics.class_counts import BACKGROUND, ClassPixels
from defect_jax.metrics.summary import Metrics
from defect_jax.report.page import Report, verdict_lines, write_report
from defect_jax.runtime.console import say
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import locks, run_config


def publish(
    config: ConfigDict,
    workdir: AnyPath,
    results: ResultFolder,
    path: AnyPath,
    judged: Split,
    judge: Callable[[], tuple[ResultTables, Scores]],
    **page: Any,
) -> Metrics:
    """Judge a split and write its folder, decision.json and the report: all of one evaluation.

    Args:
        results: where tables and masks go.
        path: of the report.
        judged: images of the split.
        judge: called when masks can be written.
        page: of `Report`: title, split, decision, notes, history and what else it shall have.

    Returns:
        The contents of metrics.json.
    """
    classes, name, made = list(config.data_info.classes), page["split"], page["decision"]
    suspects = None
    with contextlib.ExitStack() as publishing:
        with results:
            tables, scores = judge()
            results.write_tables(tables)
            if name != "train":  # a network believes every label that it has learnt
                load = image_loader(judged, results.folder, classes)
                given = results.folder, config.data.name, name
                suspects = write_suspects(*given, tables.images, scores.images, load)
            # Until the page is written: all files are then those of one evaluation, also where
            # another one chose a decision of its own meanwhile.
            publishing.enter_context(locks.results(workdir))
            keep_decision(made, config, workdir)
        report = Report(
            **tables._asdict(),
            config=run_config.without_places(config).to_dict(),
            load_image=image_loader(judged, results.final, classes),
            classes=class_pixels(scores, classes),
            written=time.strftime("%Y-%m-%d %H:%M"),
            **page | {"notes": [*page["notes"], *not_drawn(tables.metrics)]},
        )
        write_report(path, report)
    for line in verdict_lines(report):
        say(f"{name}: {line}")
    if suspects is not None:
        say(in_words(suspects, results.final))
    say(f"wrote {results.final} and {path}")
    return tables.metrics


def not_drawn(metrics: Metrics) -> list[str]:
    """Return a sentence on images whose mask is not known; nothing where there are none.

    >>> not_drawn({"images": 30, "masked_images": 18})
    ['decisions are counted over all 30 images, overlaps over the 18 whose mask is known']
    """
    images, masked = metrics["images"], metrics["masked_images"]
    if images == masked:
        return []
    return [
        f"decisions are counted over all {images} images, overlaps over the {masked} whose mask is "
        "known"
    ]


def keep_decision(made: DecisionRule, config: ConfigDict, workdir: AnyPath) -> None:
    """Write decision.json, and the options that it was made with into config.json."""
    made.to_json(workdir / "decision.json")
    run_config.keep_decision(workdir, config)


def class_pixels(scores: Scores, classes: Sequence[str]) -> ClassPixels | None:
    """Return the confusion matrix of the classes; None for a network with one class of defect."""
    if scores.classes is None:
        return None
    return ClassPixels([BACKGROUND, *classes], scores.classes.confusion())


def pruned(prune: int) -> str:
    """Return what a pruned network is called behind its step; nothing for a whole one."""
    return f", pruned to X(0,{prune})" if prune else ""


def shown(made: DecisionRule) -> str:
    """Return the thresholds in a few words."""
    return (
        f"{WAYS[made.decides].words} decides; "
        f"head {made.threshold:.4f}, mask {made.mask_threshold:.4f}, "
        f"pixel {made.pixel_threshold:.4f}, at least {made.min_area_px} px"
    )
