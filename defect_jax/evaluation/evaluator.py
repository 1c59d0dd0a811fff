"""One pass of the network over a split: scores of images, histogram and counts of pixels."""

import contextlib
import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array
from ml_collections import ConfigDict

from defect_jax.data.geometry.framing import Letterbox, Tiling
from defect_jax.data.geometry.input_spec import InputSpec, framing_of
from defect_jax.data.geometry.region import HIDDEN, UNSURE
from defect_jax.data.geometry.unletterbox import inside, unletterbox_classes
from defect_jax.data.pipeline.batches import Batch, canvas_px, evaluation_batches, evaluation_steps
from defect_jax.data.prepare.prepared import Split
from defect_jax.decision.apply import (
    Thresholds,
    decide_mask,
    defect_probability,
    mark,
    score_of,
    why_undecided,
)
from defect_jax.distributed.sharding import place_state, replicated, to_global
from defect_jax.metrics.accumulated import Accumulated
from defect_jax.metrics.class_counts import ClassCounts
from defect_jax.metrics.counts import PixelCounts, image_counts
from defect_jax.metrics.histogram import PixelHistogram
from defect_jax.metrics.label_support import LabelSupport, edge_reach_px, grown, label_support
from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import Ensemble, OfFrames, make_probabilities
from defect_jax.runtime import signals
from defect_jax.runtime.compilation import Peeked, compile_ahead
from defect_jax.runtime.compiler_options import compiler_options
from defect_jax.runtime.console import track
from defect_jax.runtime.errors import UserError

OnMask = Callable[[int, np.ndarray], None]
PER_IMAGE = ("score", "mask_score", "intersection_px", "true_px", "predicted_px", "unsure_px")
COLLECTED = PER_IMAGE + LabelSupport._fields
EvalStep = Callable[
    [Variables | Ensemble, Batch, Thresholds, Accumulated], tuple[Accumulated, dict[str, Array]]
]


class Scores(NamedTuple):
    """Result of a pass, in the order of the split's rows."""

    images: dict[str, np.ndarray]  # COLLECTED -> [images]
    histogram: PixelHistogram
    counts: PixelCounts
    classes: ClassCounts | None = None  # None where pixels are defect or not


Evaluate = Callable[..., Scores]  # of `Evaluator.__call__`


def make_eval_step(of_frames: OfFrames, canvas_px: tuple[int, int]) -> EvalStep:
    """Return `eval_step(ema, batch, thresholds, accumulated) -> (accumulated, outputs)`.

    Everything is decided at native size: probabilities are put back onto the image they came from,
    and compared with the mask as it was drawn.
    """

    def eval_step(
        ema: Variables | Ensemble, batch: Batch, thresholds: Thresholds, accumulated: Accumulated
    ):
        predicted = of_frames(ema, batch["image"])
        place = batch["placement"], batch["native_size"], canvas_px
        maps = unletterbox_classes(predicted.mask, *place)
        valid = inside(batch["native_size"], canvas_px) & (batch["row"] >= 0)[:, None, None]
        ignored = batch.get("native_ignored", 0)  # of a split in which all is judged there is none
        valid &= ignored != HIDDEN
        probability = defect_probability(maps, 1, valid)
        marked = mark(probability, maps.argmax(axis=1), thresholds, valid)
        decided = decide_mask(marked, thresholds)
        sure = valid & (ignored != UNSURE)
        known = sure & (batch["masked"] > 0)[:, None, None]  # pixels whose truth is known
        accumulated = accumulated.update(probability, decided, known, batch)
        mask = batch["native_mask"] > 0
        counts = image_counts(decided > 0, mask, valid)
        counts["unsure_px"] = image_counts(decided > 0, mask, valid & ~sure)["predicted_px"]
        near = grown(mask, edge_reach_px(canvas_px, predicted.mask.shape[1:3]))
        support = label_support(probability, mask, near, marked.classes > 0, sure)._asdict()
        scores = {"score": score_of(marked, predicted.label), "mask_score": marked.mask_score}
        return accumulated, counts | scores | support | {"row": batch["row"], "decided": decided}

    return eval_step


class Evaluator:
    """Evaluates one split with a step that is compiled once, however often it is called."""

    def __init__(self, network: SegmentationNetwork, split: Split, config: ConfigDict, mesh: Mesh):
        self._split, self._mesh, self._spec = split, mesh, InputSpec.of(config)
        self._data, self._batch_size = config.data, config.train.batch_size
        step = make_eval_step(
            make_probabilities(network, config.data_info, config.evaluation), canvas_px(split)
        )
        # Replicated outputs: every host may read every image's score.
        self._step = jax.jit(
            step,
            donate_argnums=3,
            out_shardings=replicated(mesh),
            compiler_options=compiler_options(),
        )
        self._compiled: dict[frozenset[str], EvalStep] = {}  # by what a batch holds
        nothing = partial(Accumulated.empty, config.model.num_classes)
        self._empty = jax.jit(nothing, out_shardings=replicated(mesh))

    def __call__(
        self,
        ema: Variables | Ensemble,
        thresholds: Thresholds,
        on_mask: OnMask | None = None,
        shown: bool = False,
    ) -> Scores:
        """Score every image exactly once.

        Args:
            on_mask: called with row and decided classes [h w] at native size, 0 = background, for
                each image.
            shown: whether to show how far it is.

        Raises:
            signals.Stopped: a signal came.
            UserError: the network's answer to an image is no number.
        """
        given = place_state(thresholds, Thresholds(*[replicated(self._mesh)] * len(thresholds)))
        accumulated, collected = self._empty(), []
        stream = self._spec, self._data, self._batch_size, to_global(self._mesh)
        batches = Peeked(evaluation_batches(self._split, *stream))
        with contextlib.closing(batches):
            holds = frozenset(batches.first)
            if holds not in self._compiled:
                start = (ema, batches.first, given, accumulated)
                self._compiled[holds] = compile_ahead("evaluation step", self._step, *start)
            steps = evaluation_steps(self._split, self._batch_size)
            for batch in track(batches, "evaluating", steps) if shown else batches:
                signals.check_preemption()
                accumulated, outputs = self._compiled[holds](ema, batch, given, accumulated)
                decided = outputs.pop("decided")
                collected.append(jax.device_get(outputs))
                if on_mask:
                    self._hand_out(collected[-1]["row"], jax.device_get(decided), on_mask)
        return Scores(self._in_order(collected), *jax.device_get(accumulated))

    def on(self, split: Split) -> "Evaluator":
        """Return what evaluates other images of the same number and sizes by the same programs."""
        other = copy.copy(self)
        other._split = split
        return other

    def _hand_out(self, rows: np.ndarray, decided: np.ndarray, on_mask: OnMask) -> None:
        for row, mask in zip(rows, decided, strict=True):
            if row >= 0:
                size = self._split.rows[row]
                on_mask(int(row), mask[: size.height, : size.width])

    def _in_order(self, collected: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Put the outputs into the order of the rows; each must have come exactly once."""
        joined = {name: np.concatenate([c[name] for c in collected]) for name in collected[0]}
        rows = joined["row"]
        if not np.array_equal(np.sort(rows[rows >= 0]), np.arange(len(self._split.rows))):
            raise AssertionError(f"evaluation saw rows {rows.tolist()} of {len(self._split.rows)}")
        order = np.argsort(rows, kind="stable")[np.sum(rows < 0) :]
        images = {name: joined[name][order] for name in COLLECTED}
        refuse_undecided(self._split, images)
        return images


def refuse_undecided(split: Split, images: Mapping[str, np.ndarray]) -> None:
    """Refuse scores that no threshold, rank or mean may be made of.

    Args:
        images: COLLECTED -> [images].

    Raises:
        UserError: naming the first image whose score is no number, and how many there are.
    """
    pairs = zip(images["score"].tolist(), images["mask_score"].tolist(), strict=True)
    found = [(row, why) for row, pair in enumerate(pairs) if (why := why_undecided(*pair))]
    if found:
        row, why = found[0]
        more = f", and so are {len(found) - 1} others" if len(found) > 1 else ""
        raise UserError(f"{split.rows[row].id}: {why}{more}; the weights are of no use: train anew")


def make_evaluator(
    network: SegmentationNetwork, split: Split, config: ConfigDict, mesh: Mesh
) -> Callable[..., Scores]:
    """Return what evaluates a split as its images enter the network; all are called alike."""
    from defect_jax.evaluation.tiled_evaluator import TiledEvaluator

    evaluators = {Letterbox: Evaluator, Tiling: TiledEvaluator}
    return evaluators[type(framing_of(config.data))](network, split, config, mesh)
