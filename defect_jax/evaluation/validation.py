"""What the validation split is for: to pick the best checkpoint, and to make the decision."""

import dataclasses

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax.data.prepare.prepared import Split
from defect_jax.decision import DecisionRule
from defect_jax.decision.apply import Thresholds
from defect_jax.decision.bound import allowed_misses
from defect_jax.decision.choose import choose
from defect_jax.decision.held_out import Validation
from defect_jax.decision.record import REJECTS_NOTHING
from defect_jax.decision.rules import PROMISES, too_few
from defect_jax.evaluation.evaluator import Scores, make_evaluator
from defect_jax.evaluation.result_tables import LEAKING
from defect_jax.metrics import ranking
from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import Ensemble
from defect_jax.runtime.errors import UserError
from defect_jax.workdir.best_weights import SELECTION


def validation_numbers(split: Split, scores: Scores, leaking: bool) -> dict[str, float | None]:
    """Return the threshold-free scores of validation, and SELECTION, which picks the best
    checkpoint.

    The two halves of the job count alike: ranking the parts and finding the pixels.
    """
    labels = np.array([row.label for row in split.rows])
    pixels = scores.histogram.compute()
    numbers = {
        "image_ap": ranking.average_precision(labels, scores.images["score"]),
        "image_auroc": ranking.auroc(labels, scores.images["score"]),
        "mask_image_ap": ranking.average_precision(labels, scores.images["mask_score"]),
        "pixel_ap": pixels["pixel_ap"],
    }
    halves = [numbers["image_ap"], numbers["pixel_ap"]]
    numbers |= {SELECTION: float(np.mean([half or 0.0 for half in halves]))}
    return numbers | LEAKING if leaking else numbers


def mask_thresholds(mask: float, pixel: float) -> Thresholds:
    """Return thresholds that one pixel is enough for."""
    return Thresholds(np.float32(mask), np.float32(pixel), np.int32(1))


def decide_on_validation(
    network: SegmentationNetwork,
    ema: Variables | Ensemble,
    val: Split,
    config: ConfigDict,
    mesh: Mesh,
    step: int,
    compared: int,
) -> DecisionRule:
    """Decide everything on the validation split.

    The first pass finds the scores and the pixel threshold, the second counts what that threshold
    marks in each image.

    Args:
        step: of the checkpoint that `ema` comes from.
        compared: checkpoints that were compared on this split before.
    """
    evaluate_val = make_evaluator(network, val, config, mesh)
    scores = evaluate_val(ema, mask_thresholds(REJECTS_NOTHING, REJECTS_NOTHING))
    pixel_threshold = scores.histogram.best_f1_threshold()
    pixel = REJECTS_NOTHING if pixel_threshold is None else pixel_threshold
    marked = evaluate_val(ema, mask_thresholds(0.0, pixel))
    images = to_choose_on(val, scores, marked)
    made = choose(images, pixel_threshold, config.decision.to_dict(), step, compared)
    return dataclasses.replace(made, prune=config.model.prune)


def to_choose_on(split: Split, scores: Scores, marked: Scores) -> Validation:
    """Return the table that everything is chosen on.

    Args:
        scores: of the split.
        marked: of a pass with the pixel threshold, which counts what it marks.
    """
    return Validation(
        id=np.array([row.id for row in split.rows]),
        group=np.array([row.group for row in split.rows]),
        label=np.array([row.label for row in split.rows]),
        score=scores.images["score"],
        mask_score=scores.images["mask_score"],
        area_px=marked.images["predicted_px"],
    )


def compared_checkpoints(config: ConfigDict) -> int:
    """Return how many checkpoints of a run are compared on its validation split."""
    return -(-config.train.steps // config.train.eval_every_steps)


def refuse_empty_promise(config: ConfigDict, chosen_on: Split, compared: int) -> None:
    """Say before training, not after, that there are too few parts for the promise.

    Args:
        chosen_on: the images that thresholds will be chosen on.
        compared: checkpoints that are compared on them before.

    Raises:
        UserError: with the number of parts that it takes.
    """
    options = config.decision
    if options.rule != PROMISES:
        return
    parts = len({row.group for row in chosen_on.rows if row.label})
    shared = 1.0 - (1.0 - options.confidence) / compared
    if allowed_misses(parts, options.miss_rate, shared) is None:
        where = ["all folds, which have"] if config.data.folds else []
        raise UserError(too_few(parts, options.miss_rate, options.confidence, compared, *where))
