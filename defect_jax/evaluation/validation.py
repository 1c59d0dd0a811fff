"""What the validation split is for: to pick the best checkpoint, and to make the decision."""

import dataclasses

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax.data.prepare.prepared import Split
from defect_jax.decision import DecisionRule
from defect_jax.decision.apply import Thresholds
from defect_jax.decision.bound import allowed_misses
from defect_jax.decision.choose import PROMISES, Validation, choose
from defect_jax.decision.record import REJECTS_NOTHING
from defect_jax.decision.rules import too_few
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
    images = Validation(
        id=np.array([row.id for row in val.rows]),
        group=np.array([row.group for row in val.rows]),
        label=np.array([row.label for row in val.rows]),
        score=scores.images["score"],
        mask_score=scores.images["mask_score"],
        area_px=marked.images["predicted_px"],
    )
    made = choose(images, pixel_threshold, config.decision.to_dict(), step, compared)
    return dataclasses.replace(made, prune=config.model.prune)


def refuse_empty_promise(config: ConfigDict, val: Split) -> None:
    """Say before training, not after, that the validation split is too small for the promise.

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
