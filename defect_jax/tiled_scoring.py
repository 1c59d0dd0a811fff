"""One pass of the network over a split whose pictures are looked at through tiles."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from defect_jax import interrupts
from defect_jax.compilation import compile_ahead
from defect_jax.compiler_options import compiler_options
from defect_jax.data.frame import Frame, filled_up
from defect_jax.data.loading import decoded
from defect_jax.data.pipeline import canvas_px
from defect_jax.data.prepare import Split
from defect_jax.data.reading import threaded
from defect_jax.data.tiles import Grid
from defect_jax.metrics.accumulated import Accumulated
from defect_jax.metrics.regions import region_weights
from defect_jax.models.flips import Probabilities
from defect_jax.models.network import SegmentationNetwork
from defect_jax.predict_step import Thresholds, make_probabilities
from defect_jax.progress import track
from defect_jax.scoring import PER_PICTURE, OnMask, Scores
from defect_jax.sharding import place_state, replicated, rows_of_process, to_global
from defect_jax.tiling import Strip, TiledDecision, decide, look

WAITING = 2  # pictures read ahead; each may be large


class WithTruth(NamedTuple):
    """A picture at its own size, and what is true of it."""

    image: np.ndarray
    truth: dict[str, np.ndarray]  # native_mask and region_weight, [h w]
    regions: int


class TiledScorer:
    """As `scoring.Scorer`: scores one split, and may be called often.

    Pictures come one after the other, and their tiles are shared out over all devices of all hosts.
    Every host reads every picture and puts it together, so that no picture waits for another host.
    """

    def __init__(self, network: SegmentationNetwork, split: Split, config: ConfigDict, mesh: Mesh):
        self._split, self._config, self._mesh = split, config, mesh
        self._tiles_at_once = config.train.batch_size
        self._rows = rows_of_process(mesh, self._tiles_at_once)
        self._block_px = config.data.size[0], canvas_px(split)[1]
        everywhere = {"out_shardings": replicated(mesh)}
        frames = make_probabilities(network, config)
        self._frames = jax.jit(frames, compiler_options=compiler_options(), **everywhere)
        self._compiled: Any = None
        self._see = jax.jit(_see, donate_argnums=0, **everywhere)
        self._count = jax.jit(Accumulated.counted, donate_argnums=0, **everywhere)
        self._empty = jax.jit(partial(Accumulated.empty, config.model.num_classes), **everywhere)

    def __call__(
        self, average: Any, mask: float, pixel: float, area_px: int, on_mask: OnMask | None = None
    ) -> Scores:
        """Scores every picture exactly once; arguments as those of `Scorer`.

        Raises:
            interrupts.Stopped: a signal came.
        """
        accumulated, outputs = self._empty(), []
        thresholds = Thresholds(np.float32(mask), np.float32(pixel), area_px)
        rows = range(len(self._split.rows))
        pictures = threaded(
            partial(_with_truth, self._split, Frame.of(self._config)), rows, WAITING
        )
        follow = track(pictures, "evaluating", len(rows)) if on_mask else pictures
        with contextlib.closing(follow):
            for row, picture in enumerate(follow):
                interrupts.boundary()
                accumulated, decision = self._judged(accumulated, average, picture, thresholds)
                score, highest, classes = decision
                outputs.append((score, highest, *_overlap(classes, picture.truth["native_mask"])))
                if on_mask:
                    on_mask(row, classes)
        columns = zip(PER_PICTURE, zip(*outputs, strict=True), strict=True)
        arrays = {name: np.array(values) for name, values in columns}
        return Scores(arrays, *jax.device_get(accumulated))

    def _judged(
        self, accumulated: Accumulated, average: Any, picture: WithTruth, thresholds: Thresholds
    ) -> tuple[Accumulated, TiledDecision]:
        """Decides on a picture, and adds its pixels."""
        native_px = picture.image.shape[:2]
        grid = Grid.of(self._config, native_px)

        def seen() -> Iterator[Strip]:
            nonlocal accumulated
            first = 0
            for strip in look(picture.image, grid, self._start(average), self._tiles_at_once):
                interrupts.while_waiting()
                blocks = self._strip_blocks(strip.maps, picture, first)
                accumulated = self._see(accumulated, *self._placed(blocks))
                first += len(strip.maps)
                yield strip

        decision = decide(seen(), native_px, thresholds)
        return self._counted(accumulated, decision.classes, picture), decision

    def _strip_blocks(self, maps: np.ndarray, picture: WithTruth, first: int) -> tuple[Any, ...]:
        """A strip's map, where it is valid, and the truth of it; arguments of `_see`."""
        inside = slice(first, first + len(maps))
        truth = {name: self._block(plane[inside]) for name, plane in picture.truth.items()}
        truth["regions"] = np.array([0 if first else picture.regions], np.int32)
        return self._block(maps), self._valid(maps), truth

    def _counted(
        self, accumulated: Accumulated, classes: np.ndarray, picture: WithTruth
    ) -> Accumulated:
        mask, height = picture.truth["native_mask"], self._block_px[0]
        for first in range(0, len(classes), height):
            decided, true = classes[first : first + height], mask[first : first + height]
            blocks = self._block(decided), self._valid(decided), self._block(true)
            accumulated = self._count(accumulated, *self._placed(blocks))
        return accumulated

    def _start(self, average: Any) -> Callable[[np.ndarray], Probabilities]:
        """Each host gives the frames of its devices, and gets the answers of all."""

        def start(frames: np.ndarray) -> Probabilities:
            filled = filled_up(frames, self._tiles_at_once)
            placed = to_global(self._mesh)(filled[self._rows])
            if self._compiled is None:
                name = "evaluation step"
                self._compiled = compile_ahead(name, self._frames, average, placed)
            return self._compiled(average, placed)

        return start

    def _block(self, plane: np.ndarray) -> np.ndarray:
        """Rows of a picture in the one shape that the programs are compiled for."""
        block = np.zeros((1, *self._block_px, *plane.shape[2:]), plane.dtype)
        block[0, : plane.shape[0], : plane.shape[1]] = plane
        return block

    def _valid(self, plane: np.ndarray) -> np.ndarray:
        return self._block(np.ones(plane.shape[:2], bool))

    def _placed(self, arrays: Any) -> Any:
        return place_state(arrays, jax.tree.map(lambda _: replicated(self._mesh), arrays))


def _with_truth(split: Split, frame: Frame, row: int) -> WithTruth:
    image, mask = decoded(split, row, frame)
    weights, regions = region_weights(mask > 0)
    return WithTruth(image, {"native_mask": mask, "region_weight": weights}, regions)


def _see(
    accumulated: Accumulated,
    maps: Float[Array, "1 h w classes"],
    valid: Bool[Array, "1 h w"],
    truth: dict[str, Any],
) -> Accumulated:
    """Adds the probabilities of a strip; what is decided is known only after the last one.

    Args:
        truth: `native_mask`, `region_weight` and `regions`, the last with the first strip alone.
    """
    return accumulated.seen(maps.sum(axis=-1), valid, truth)


def _overlap(decided: np.ndarray, mask: np.ndarray) -> Iterator[int]:
    """`intersection_px`, `true_px` and `predicted_px` of a picture."""
    for cell in ((decided > 0) & (mask > 0), mask > 0, decided > 0):
        yield np.count_nonzero(cell)
