"""A rival's answers judged as a network of ours: the decision from val, the metrics of test.

What decides and what counts are the functions of `defect_jax.decision` and `defect_jax.evaluation`;
only the probabilities are the rival's.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float16
from ml_collections import ConfigDict
from scipy.special import expit

from benchmarks.controls.native_maps import NativeMaps
from benchmarks.controls.post_processing import Control
from benchmarks.controls.scores import scored
from defect_jax.data.files.record_encoding import decode_classes
from defect_jax.data.pipeline.batches import canvas_px
from defect_jax.data.prepare.prepared import Prepared, Split
from defect_jax.decision import DecisionRule
from defect_jax.decision.choose import choose
from defect_jax.decision.held_out import Validation
from defect_jax.decision.record import REJECTS_NOTHING
from defect_jax.evaluation.evaluator import Scores
from defect_jax.evaluation.result_tables import ResultTables, tabulate
from defect_jax.metrics.regions import region_weights
from defect_jax.runtime.errors import UserError

AS_IT_IS = Control("as_it_is", "masks as they are")
Answers = Mapping[str, np.ndarray]  # score, map_0, map_1 …: logits


def judge(
    val: Answers, test: Answers, prepared: Prepared, options: ConfigDict
) -> tuple[DecisionRule, ResultTables]:
    """Choose all thresholds on the answers to val and tabulate those to test.

    Args:
        val, test: of `benchmarks.rivals.torch_answers`, in the order of the split's rows.
        options: `config.decision`.
    """
    made = decided_on(val, prepared.splits["val"], options)
    judged = prepared.splits["test"]
    data_info = ConfigDict({"classes": list(prepared.info.classes)})
    scores = _scored(test, judged, made)
    return made, tabulate(judged, scores, made, data_info, prepared.info.leaking)


def decided_on(answers: Answers, val: Split, options: ConfigDict) -> DecisionRule:
    """Return the decision, chosen in two passes as `evaluation.validation` does."""
    scores = _scored(answers, val, _thresholds(REJECTS_NOTHING, REJECTS_NOTHING))
    pixel_threshold = scores.histogram.best_f1_threshold()
    pixel = REJECTS_NOTHING if pixel_threshold is None else pixel_threshold
    marked = _scored(answers, val, _thresholds(0.0, pixel))
    images = Validation(
        id=np.array([row.id for row in val.rows]),
        group=np.array([row.group for row in val.rows]),
        label=np.array([row.label for row in val.rows]),
        score=scores.images["score"].astype(np.float32),
        mask_score=scores.images["mask_score"].astype(np.float32),
        area_px=marked.images["predicted_px"],
    )
    return choose(images, pixel_threshold, options.to_dict(), checkpoint_step=0)


def _thresholds(mask: float, pixel: float) -> DecisionRule:
    return DecisionRule(REJECTS_NOTHING, mask, pixel, 0, 0, 0)


def _scored(answers: Answers, split: Split, made: DecisionRule) -> Scores:
    images = native_answers(answers, split)
    return scored(images, AS_IT_IS, made.pixel_threshold, made, canvas_px(split))


def native_answers(answers: Answers, split: Split) -> Iterator[NativeMaps]:
    """Yield each image's answer with its truth.

    Raises:
        UserError: the answers are to other images.
    """
    if len(answers["score"]) != len(split.rows):
        raise UserError(f"{len(answers['score'])} answers to {len(split.rows)} images")
    for place, (record, row) in enumerate(zip(split.source, split.rows, strict=True)):
        truth, logits = decode_classes(record["mask"]), answers[f"map_{place}"]
        if truth.shape != logits.shape:
            raise UserError(f"{row.id}: {truth.shape} px, but the answer has {logits.shape}")
        weights, regions = region_weights(truth > 0)
        label = float(expit(np.float64(answers["score"][place])))
        yield NativeMaps(_probability(logits)[None], label, truth, weights, regions)


def _probability(logits: Float16[np.ndarray, "h w"]) -> np.ndarray:
    return expit(logits.astype(np.float64)).astype(np.float32)


def read_answers(folder: Path, splits: Sequence[str] = ("val", "test")) -> list[Answers]:
    """Open the answers to each split."""
    return [np.load(folder / f"{split}.npz", allow_pickle=False) for split in splits]
