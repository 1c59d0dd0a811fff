"""What the validation split is for: to pick the best checkpoint, and to make the decision."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax import hosts
from defect_jax.data.prepare import Split
from defect_jax.decision import DecisionRule
from defect_jax.decision.bound import allowed_misses
from defect_jax.decision.choose import PROMISES, Validation, choose
from defect_jax.decision.rules import too_few
from defect_jax.errors import UserError
from defect_jax.judging import LEAKING
from defect_jax.metrics import ranking
from defect_jax.models.network import SegmentationNetwork
from defect_jax.paths import AnyPath
from defect_jax.scorers import make_scorer
from defect_jax.scoring import Scores

SELECTION = "selection"  # the number by which checkpoints are compared
NO_MASK = 2.0  # a mask threshold that no probability reaches: nothing is decided yet


def validation_numbers(split: Split, scores: Scores, config: ConfigDict) -> dict[str, float | None]:
    """Threshold-free scores of validation, and SELECTION, which picks the best checkpoint.

    The two halves of the job count alike: ranking the parts and finding the pixels.
    """
    labels = np.array([row.label for row in split.rows])
    pixels = scores.histogram.compute()
    numbers = {
        "image_ap": ranking.average_precision(labels, scores.pictures["score"]),
        "image_auroc": ranking.auroc(labels, scores.pictures["score"]),
        "mask_image_ap": ranking.average_precision(labels, scores.pictures["mask_score"]),
        "pixel_ap": pixels["pixel_ap"],
    }
    halves = [numbers["image_ap"], numbers["pixel_ap"]]
    numbers |= {SELECTION: float(np.mean([half or 0.0 for half in halves]))}
    return numbers | LEAKING if config.picture.leaking else numbers


def selection_scores(history: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Step -> the number by which checkpoints are compared, of the lines of metrics.jsonl."""
    return {line["step"]: line[SELECTION] for line in history if line["split"] == "val"}


def decided_before(workdir: AnyPath, step: int, config: ConfigDict) -> DecisionRule | None:
    """The decision that the workdir has for this checkpoint and this wish, or None."""
    path = workdir / "decision.json"
    fields = hosts.from_first(
        lambda: dataclasses.asdict(DecisionRule.from_json(path)) if path.exists() else None
    )
    if fields is None:
        return None
    made = DecisionRule.from_fields(path, fields)
    fits = made.checkpoint_step == step and made.options == config.decision.to_dict()
    return made if fits else None


def decide(
    network: SegmentationNetwork,
    average: Any,
    val: Split,
    config: ConfigDict,
    mesh: Mesh,
    step: int,
    compared: int,
) -> DecisionRule:
    """Decides everything on the validation split.

    The first pass finds the scores and the pixel threshold, the second counts what that threshold
    marks in each picture.

    Args:
        step: of the checkpoint that `average` comes from.
        compared: checkpoints that were compared on this split before.
    """
    score_val = make_scorer(network, val, config, mesh)
    scores = score_val(average, mask=NO_MASK, pixel=NO_MASK, area_px=1)
    pixel_threshold = scores.histogram.best_f1_threshold()
    pixel = NO_MASK if pixel_threshold is None else pixel_threshold
    marked = score_val(average, mask=0.0, pixel=pixel, area_px=1)
    pictures = Validation(
        id=np.array([row.id for row in val.rows]),
        group=np.array([row.group for row in val.rows]),
        label=np.array([row.label for row in val.rows]),
        score=scores.pictures["score"],
        mask_score=scores.pictures["mask_score"],
        area_px=marked.pictures["predicted_px"],
    )
    return choose(pictures, pixel_threshold, config.decision.to_dict(), step, compared)


def refuse_empty_promise(config: ConfigDict, val: Split) -> None:
    """Says before training, not after, that the validation split is too small for the promise.

    Raises:
        UserError: with the number of parts that it takes.
    """
    options = config.decision
    if options.rule != PROMISES:
        return
    parts = len({row.group for row in val.rows if row.label})
    compared = -(-config.train.steps // config.train.eval_every_steps)
    shared = 1.0 - (1.0 - options.confidence) / compared
    if allowed_misses(parts, options.miss_rate, shared) is None:
        raise UserError(too_few(parts, options.miss_rate, options.confidence, compared))
