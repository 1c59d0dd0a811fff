"""One pass of the network over a split: scores of pictures, histogram and counts of pixels."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax import interrupts
from defect_jax.compilation import Peeked, compile_ahead
from defect_jax.compiler_options import compiler_options
from defect_jax.data.pipeline import canvas_px, evaluation_batches, evaluation_steps
from defect_jax.data.prepare import Split
from defect_jax.metrics.accumulated import Accumulated
from defect_jax.metrics.class_counts import ClassCounts
from defect_jax.metrics.counts import PixelCounts
from defect_jax.metrics.histogram import PixelHistogram
from defect_jax.models.network import SegmentationNetwork
from defect_jax.predict_step import Thresholds
from defect_jax.progress import track
from defect_jax.sharding import place_state, replicated, to_global
from defect_jax.steps import make_eval_step

OnMask = Callable[[int, np.ndarray], None]
PER_PICTURE = ("score", "mask_score", "intersection_px", "true_px", "predicted_px")


class Scores(NamedTuple):
    """Result of a pass, in the order of the split's rows."""

    pictures: dict[str, np.ndarray]  # PER_PICTURE -> [pictures]
    histogram: PixelHistogram
    counts: PixelCounts
    classes: ClassCounts | None = None  # None where pixels are defect or not


class Scorer:
    """Scores one split with a step that is compiled once, however often it is called."""

    def __init__(self, network: SegmentationNetwork, split: Split, config: ConfigDict, mesh: Mesh):
        self._split, self._config, self._mesh = split, config, mesh
        step = make_eval_step(network, config, canvas_px(split))
        # Replicated outputs: every host may look at every picture's score.
        self._step = jax.jit(
            step,
            donate_argnums=3,
            out_shardings=replicated(mesh),
            compiler_options=compiler_options(),
        )
        self._compiled: Any = None
        nothing = partial(Accumulated.empty, config.model.num_classes)
        self._empty = jax.jit(nothing, out_shardings=replicated(mesh))

    def __call__(
        self, average: Any, mask: float, pixel: float, area_px: int, on_mask: OnMask | None = None
    ) -> Scores:
        """Scores every picture exactly once.

        Args:
            average: averaged params and batch_stats of a TrainState.
            mask, pixel, area_px: thresholds of `predict_step.decide_mask`.
            on_mask: called with row and decided classes [h w] at native size, 0 = background, for
                each picture.

        Raises:
            interrupts.Stopped: a signal came.
        """
        given = Thresholds(np.float32(mask), np.float32(pixel), np.int32(area_px))
        thresholds = place_state(given, Thresholds(*[replicated(self._mesh)] * len(given)))
        accumulated = self._empty()
        batches = Peeked(evaluation_batches(self._split, self._config, to_global(self._mesh)))
        collected = []
        with contextlib.closing(batches):
            if self._compiled is None:
                start = (average, batches.first, thresholds, accumulated)
                self._compiled = compile_ahead("evaluation step", self._step, *start)
            steps = evaluation_steps(self._split, self._config)
            follow = track(batches, "evaluating", steps) if on_mask else batches
            for batch in follow:
                interrupts.boundary()
                accumulated, outputs = self._compiled(average, batch, thresholds, accumulated)
                decided = outputs.pop("decided")
                collected.append(jax.device_get(outputs))
                if on_mask:
                    self._hand_out(collected[-1]["row"], jax.device_get(decided), on_mask)
        pictures = self._in_order(collected)
        return Scores(pictures, *jax.device_get(accumulated))

    def _hand_out(self, rows: np.ndarray, decided: np.ndarray, on_mask: OnMask) -> None:
        for row, mask in zip(rows, decided, strict=True):
            if row >= 0:
                picture = self._split.rows[row]
                on_mask(int(row), mask[: picture.height, : picture.width])

    def _in_order(self, collected: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Puts the outputs into the order of the rows; each must have come exactly once."""
        joined = {name: np.concatenate([c[name] for c in collected]) for name in collected[0]}
        rows = joined["row"]
        if not np.array_equal(np.sort(rows[rows >= 0]), np.arange(len(self._split.rows))):
            raise AssertionError(f"evaluation saw rows {rows.tolist()} of {len(self._split.rows)}")
        order = np.argsort(rows, kind="stable")[np.sum(rows < 0) :]
        return {name: joined[name][order] for name in PER_PICTURE}
