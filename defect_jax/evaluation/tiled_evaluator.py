"""One pass of the network over a split whose images are cut into tiles."""

import contextlib
import copy
from collections.abc import Iterator
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from defect_jax.data.files.reading import threaded
from defect_jax.data.geometry.input_spec import InputSpec, filled_up
from defect_jax.data.geometry.region import HIDDEN, UNSURE, without
from defect_jax.data.geometry.stitching import Start, iter_tile_rows
from defect_jax.data.pipeline.batches import canvas_px
from defect_jax.data.pipeline.loading import decoded
from defect_jax.data.prepare.prepared import Split
from defect_jax.decision.apply import (
    Marked,
    Thresholds,
    decide_mask,
    defect_probability,
    mark,
    mark_strips,
    score_of,
)
from defect_jax.distributed.sharding import place_state, replicated, rows_of_process, to_global
from defect_jax.evaluation.evaluator import COLLECTED, OnMask, Scores, refuse_undecided
from defect_jax.metrics.accumulated import Accumulated
from defect_jax.metrics.label_support import (
    LabelSupport,
    edge_reach_px,
    grown_on_host,
    label_support,
)
from defect_jax.metrics.regions import region_weights
from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import Ensemble, OfFrames, Probabilities, make_probabilities
from defect_jax.runtime import signals
from defect_jax.runtime.compilation import compile_ahead
from defect_jax.runtime.compiler_options import compiler_options
from defect_jax.runtime.console import track

WAITING = 2  # images read ahead; each may be large


class WithTruth(NamedTuple):
    """An image at its own size, and the truth about it."""

    image: np.ndarray
    truth: dict[str, np.ndarray]  # native_mask and region_weight, [h w]
    near: np.ndarray  # the mask and what is close to it, [h w]
    regions: int
    ignored: np.ndarray  # what is not judged, [h w], see `geometry.region`
    masked: bool  # False where the truth of the pixels is not known


class TiledEvaluator:
    """As `evaluator.Evaluator`: evaluates one split, and may be called often.

    Images come one after the other, and their tiles are shared out over all devices of all hosts.
    Every host reads every image and puts it together, so that no image waits for another host.
    """

    def __init__(self, network: SegmentationNetwork, split: Split, config: ConfigDict, mesh: Mesh):
        self._split, self._mesh, self._spec = split, mesh, InputSpec.of(config)
        self._tiles_at_once = config.train.batch_size
        self._rows = rows_of_process(mesh, self._tiles_at_once)
        self._block_px = self._spec.size_px[0], canvas_px(split)[1]
        everywhere = {"out_shardings": replicated(mesh)}
        frames = make_probabilities(network, config.data_info, config.evaluation)
        self._frames = jax.jit(frames, compiler_options=compiler_options(), **everywhere)
        self._compiled: OfFrames | None = None
        self._add_strip = jax.jit(_add_strip, donate_argnums=0, **everywhere)
        self._count = jax.jit(Accumulated.counted, donate_argnums=0, **everywhere)
        self._empty = jax.jit(partial(Accumulated.empty, config.model.num_classes), **everywhere)

    def __call__(
        self,
        ema: Variables | Ensemble,
        thresholds: Thresholds,
        on_mask: OnMask | None = None,
        shown: bool = False,
    ) -> Scores:
        """Score every image exactly once; arguments as those of `Evaluator`.

        Raises:
            signals.Stopped: a signal came.
            UserError: the network's answer to an image is no number.
        """
        accumulated, outputs = self._empty(), []
        rows = range(len(self._split.rows))
        images = threaded(partial(_with_truth, self._split, self._spec), rows, WAITING)
        follow = track(images, "evaluating", len(rows)) if shown else images
        with contextlib.closing(follow):
            for row, image in enumerate(follow):
                signals.check_preemption()
                accumulated, found = self._marked(accumulated, ema, image, thresholds)
                marked, label, support = found
                classes = decide_mask(marked, thresholds)
                accumulated = self._counted(accumulated, classes, image)
                scores = score_of(marked, label), marked.mask_score
                overlap = _overlap(classes, image)
                outputs.append((*scores, *overlap, *support))
                if on_mask:
                    on_mask(row, classes)
        columns = zip(COLLECTED, zip(*outputs, strict=True), strict=True)
        arrays = {name: np.array(values) for name, values in columns}
        refuse_undecided(self._split, arrays)
        return Scores(arrays, *jax.device_get(accumulated))

    def on(self, split: Split) -> "TiledEvaluator":
        """Return what evaluates other images of the same number and sizes by the same programs."""
        other = copy.copy(self)
        other._split = split
        return other

    def _marked(
        self,
        accumulated: Accumulated,
        ema: Variables | Ensemble,
        image: WithTruth,
        thresholds: Thresholds,
    ) -> tuple[Accumulated, tuple[Marked, float | None, LabelSupport]]:
        """Mark an image, find its label and what supports its mask; add its probabilities strip by
        strip."""
        native_px, label = image.image.shape[:2], None
        grid = self._spec.framing.grid(native_px)
        supports = []

        def maps() -> Iterator[np.ndarray]:
            nonlocal accumulated, label
            first = 0
            for strip in iter_tile_rows(image.image, grid, self._start(ema), self._tiles_at_once):
                signals.while_waiting()
                label, rows = strip.label, slice(first, first + len(strip.maps))
                shown = without(strip.maps, image.ignored[rows] == HIDDEN)
                blocks = self._strip_blocks(shown, image, rows)
                accumulated = self._add_strip(accumulated, *self._placed(blocks))
                supports.append(_support(shown, image, rows, thresholds))
                first = rows.stop
                yield shown

        marked = mark_strips(maps(), native_px, thresholds)
        return accumulated, (marked, label, reduce(LabelSupport.merged, supports))

    def _strip_blocks(self, maps: np.ndarray, image: WithTruth, rows: slice) -> tuple[Any, ...]:
        """Return a strip's map, where its truth is known, and that truth; arguments of
        `_add_strip`."""
        truth = {name: self._block(plane[rows]) for name, plane in image.truth.items()}
        truth["regions"] = np.array([0 if rows.start else image.regions], np.int32)
        return self._block(maps), self._known(image, rows), truth

    def _counted(
        self, accumulated: Accumulated, classes: np.ndarray, image: WithTruth
    ) -> Accumulated:
        mask, height = image.truth["native_mask"], self._block_px[0]
        for first in range(0, len(classes), height):
            rows = slice(first, first + height)
            decided, true = classes[rows], mask[rows]
            blocks = self._block(decided), self._known(image, rows), self._block(true)
            accumulated = self._count(accumulated, *self._placed(blocks))
        return accumulated

    def _start(self, ema: Variables | Ensemble) -> Start:
        """Return what runs tiles: each host gives those of its devices, and gets all answers."""

        def start(tiles: np.ndarray) -> Probabilities:
            filled = filled_up(tiles, self._tiles_at_once)
            frames = self._spec.intensity.shares(filled[self._rows])
            placed = to_global(self._mesh)(frames)
            if self._compiled is None:
                name = "evaluation step"
                self._compiled = compile_ahead(name, self._frames, ema, placed)
            return self._compiled(ema, placed)

        return start

    def _block(self, plane: np.ndarray) -> np.ndarray:
        """Return rows of an image in the one shape that the programs are compiled for."""
        block = np.zeros((1, *self._block_px, *plane.shape[2:]), plane.dtype)
        block[0, : plane.shape[0], : plane.shape[1]] = plane
        return block

    def _known(self, image: WithTruth, rows: slice) -> np.ndarray:
        """Return where in the block of some rows of an image the truth is known."""
        return self._block((image.ignored[rows] == 0) & image.masked)

    def _placed(self, arrays: Any) -> Any:
        return place_state(arrays, jax.tree.map(lambda _: replicated(self._mesh), arrays))


def _with_truth(split: Split, spec: InputSpec, row: int) -> WithTruth:
    image, mask, ignored = decoded(split, row, spec)
    weights, regions = region_weights(mask > 0)
    near = grown_on_host(mask > 0, edge_reach_px(mask.shape, mask.shape))  # tiles are not scaled
    truth = {"native_mask": mask, "region_weight": weights}
    ignored = np.zeros_like(mask) if ignored is None else ignored
    return WithTruth(image, truth, near, regions, ignored, bool(split.rows[row].masked))


def _support(
    maps: np.ndarray, image: WithTruth, rows: slice, thresholds: Thresholds
) -> LabelSupport:
    """Return what a strip of some rows says of the mask."""
    mask, near = image.truth["native_mask"][rows] > 0, image.near[rows]
    probability = defect_probability(maps, -1)
    marked = mark(probability, maps.argmax(axis=-1), thresholds).classes > 0
    return label_support(probability, mask, near, marked, image.ignored[rows] == 0)


def _add_strip(
    accumulated: Accumulated,
    maps: Float[Array, "1 h w classes"],
    valid: Bool[Array, "1 h w"],
    truth: dict[str, Any],
) -> Accumulated:
    """Add the probabilities of a strip; what is decided is known only after the last one.

    Args:
        truth: `native_mask`, `region_weight` and `regions`, the last with the first strip alone.
    """
    return accumulated.seen(defect_probability(maps, -1), valid, truth)


def _overlap(classes: np.ndarray, image: WithTruth) -> Iterator[int]:
    """Yield `intersection_px`, `true_px`, `predicted_px` and `unsure_px` of an image."""
    decided, mask = classes > 0, image.truth["native_mask"] > 0
    for cell in (decided & mask, mask, decided, decided & (image.ignored == UNSURE)):
        yield np.count_nonzero(cell)
