"""What every evaluation publishes beside its tables: the decision, and words and figures of it."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from defect_jax.decision import DecisionRule
from defect_jax.decision.ways import WAYS
from defect_jax.evaluation.evaluator import Scores
from defect_jax.metrics.class_counts import BACKGROUND, ClassPixels
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import run_config


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
