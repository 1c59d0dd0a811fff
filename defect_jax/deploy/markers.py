"""What marks images for a predictor: the network on batches of frames, and the way back.

Images are either scaled into one frame each or cut into tiles; both kinds of marker are used alike:
`ready` prepares an image and may run in threads, `mark` takes what is ready.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float32, UInt

from defect_jax.data.geometry.framing import Letterbox, Tiling
from defect_jax.data.geometry.input_spec import InputSpec, filled_up
from defect_jax.data.geometry.letterbox import Placement, letterbox_image
from defect_jax.data.geometry.region import without
from defect_jax.data.geometry.stitching import iter_tile_rows
from defect_jax.data.geometry.unletterbox import inside, unletterbox_classes
from defect_jax.decision.apply import Marked, Thresholds, defect_probability, mark, mark_strips
from defect_jax.distributed.sharding import batch_sharding, replicated
from defect_jax.models.initialise import Variables
from defect_jax.models.probabilities import Ensemble, OfFrames, Probabilities
from defect_jax.runtime.compilation import free_some
from defect_jax.runtime.compiler_options import compiler_options
from defect_jax.runtime.program_memory import refuse_too_large

SMALLEST_CANVAS_PX = 32
MOST_CANVASES = 32  # compiled at once, 3 MB each; the one not used for longest goes first


class Frames:
    """The network on batches of frames, all of one size and of few counts."""

    def __init__(self, program: OfFrames, ema: Variables | Ensemble, mesh: Mesh, batch_size: int):
        self.batch_size, self._mesh = batch_size, mesh
        self._ema = jax.device_put(ema, replicated(mesh))
        self._program = jax.jit(
            program, out_shardings=replicated(mesh), compiler_options=compiler_options()
        )
        self._compiled: dict[tuple[int, ...], jax.stages.Compiled] = {}

    def __call__(self, image: Float32[np.ndarray, "b h w c"]) -> Probabilities:
        """Run a single frame alone, more as a full batch: there are two programs at most.

        Raises:
            UserError: the program needs more memory than is free.
        """
        count = self._mesh.size if len(image) <= self._mesh.size else self.batch_size
        filled = jax.device_put(filled_up(image, count), batch_sharding(self._mesh))
        if filled.shape not in self._compiled:
            self._compiled[filled.shape] = self._that_fits(filled)
        return self._compiled[filled.shape](self._ema, filled)

    def _that_fits(self, filled: Float32[jax.Array, "b h w c"]) -> jax.stages.Compiled:
        compiled = self._program.lower(self._ema, filled).compile()
        name = f"network on {len(filled)} images at once"
        refuse_too_large(name, compiled, free_some)
        return compiled


class Framed(NamedTuple):
    """An image as the network sees it, and how to get back."""

    image: Float32[np.ndarray, "h w c"]  # shares of the measured range
    placement: Placement
    native_px: tuple[int, int]
    hidden: Bool[np.ndarray, "h w"] | None  # where nothing is marked


class Whole(NamedTuple):
    """An image to be cut into tiles."""

    image: UInt[np.ndarray, "h w c"]
    hidden: Bool[np.ndarray, "h w"] | None  # where nothing is marked


Ready = Framed | Whole


class WholeMarker:
    """Marks images that are scaled into one frame each, a batch after the other.

    Each image's probabilities are put back onto it by themselves, on one of few canvases, so that a
    new size seldom means a new program.
    """

    def __init__(self, spec: InputSpec, frames: Frames, thresholds: Thresholds):
        self._framing, self._frames, self._thresholds = spec.framing, frames, thresholds
        self._intensity = spec.intensity
        self._program_on = functools.lru_cache(MOST_CANVASES)(_program_on)

    def ready(
        self, image: UInt[np.ndarray, "h w c"], hidden: Bool[np.ndarray, "h w"] | None, name: str
    ) -> Framed:
        placement = self._framing.place(image.shape[:2], name)
        frame = letterbox_image(self._intensity.shares(image), placement, self._framing.size_px)
        return Framed(frame, placement, image.shape[:2], hidden)

    def mark(self, images: Sequence[Framed]) -> list[tuple[Marked, float | None]]:
        found, size = [], self._frames.batch_size
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            predicted = self._frames(np.stack([image.image for image in batch]))
            found += [self._one(predicted, row, image) for row, image in enumerate(batch)]
        return found

    def _one(
        self, predicted: Probabilities, row: int, image: Framed
    ) -> tuple[Marked, float | None]:
        height, width = image.native_px
        canvas = tuple(canvas_side_px(side) for side in image.native_px)
        where = np.float32(image.placement), np.int32(image.native_px)
        hidden = None
        if image.hidden is not None:
            hidden = np.pad(image.hidden, [(0, canvas[0] - height), (0, canvas[1] - width)])
        marked = self._program_on(canvas)(predicted.mask[row], *where, self._thresholds, hidden)
        label = None if predicted.label is None else predicted.label[row]
        marked, label = jax.device_get((marked, label))
        return (
            # Python's numbers, or the rule's threshold would be rounded to float32 beside them.
            Marked(float(marked.mask_score), int(marked.area_px), marked.classes[:height, :width]),
            None if label is None else float(label),
        )


class TiledMarker:
    """Marks images through tiles, one image after the other."""

    def __init__(self, spec: InputSpec, frames: Frames, thresholds: Thresholds):
        self._framing, self._frames, self._thresholds = spec.framing, frames, thresholds
        self._intensity = spec.intensity

    def ready(
        self, image: UInt[np.ndarray, "h w c"], hidden: Bool[np.ndarray, "h w"] | None, name: str
    ) -> Whole:
        del name  # every size will do
        return Whole(image, hidden)

    def mark(self, images: Sequence[Whole]) -> list[tuple[Marked, float | None]]:
        return [self._one(*image) for image in images]

    def _one(
        self, image: UInt[np.ndarray, "h w c"], hidden: Bool[np.ndarray, "h w"] | None
    ) -> tuple[Marked, float | None]:
        native_px, label = image.shape[:2], None
        rows = iter_tile_rows(
            image, self._framing.grid(native_px), self._start, self._frames.batch_size
        )

        def maps():
            nonlocal label
            first = 0
            for strip in rows:
                label = strip.label
                here = None if hidden is None else hidden[first : first + len(strip.maps)]
                first += len(strip.maps)
                yield strip.maps if here is None else without(strip.maps, here)

        marked = mark_strips(maps(), native_px, self._thresholds)
        return marked, label

    def _start(self, tiles: UInt[np.ndarray, "b h w c"]) -> Probabilities:
        return self._frames(self._intensity.shares(tiles))


MARKERS = {Letterbox: WholeMarker, Tiling: TiledMarker}


def _program_on(canvas_px: tuple[int, int]) -> Callable[..., Marked]:
    """Return the program that marks one image from its frame's probabilities [h w classes].

    It is a function of its own, with all that was compiled for it: one `jit` for all canvases
    would keep each of them for as long as the process lives.
    """

    def marked(
        mask: Any, placement: Any, native: Any, thresholds: Thresholds, hidden: Any = None
    ) -> Marked:
        maps = unletterbox_classes(mask[None], placement[None], native[None], canvas_px)
        valid = inside(native[None], canvas_px)
        if hidden is not None:
            valid &= ~hidden[None]
        probability = defect_probability(maps, 1, valid)
        found = mark(probability, maps.argmax(axis=1), thresholds, valid)
        return jax.tree.map(lambda array: array[0], found)

    return jax.jit(marked)


def canvas_side_px(side: int) -> int:
    """Return the next of few lengths, at most a quarter longer: four to each doubling.

    >>> [canvas_side_px(side) for side in (1, 32, 33, 600, 700, 2700)]
    [32, 32, 40, 640, 768, 3072]
    """
    octave = SMALLEST_CANVAS_PX
    while side > 2 * octave:
        octave *= 2
    if side <= octave:
        return octave
    return octave + -(-(side - octave) * 4 // octave) * octave // 4
