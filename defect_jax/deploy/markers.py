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
from defect_jax.data.geometry.letterbox import Placement, letterbox_image, shown
from defect_jax.data.geometry.region import without
from defect_jax.data.geometry.stitching import iter_tile_rows
from defect_jax.data.geometry.unletterbox import inside, unletterbox_classes
from defect_jax.decision.apply import Marked, Thresholds, defect_probability, mark, mark_strips
from defect_jax.decision.heat import MARKED, heat_map
from defect_jax.deploy.image_decision import Seen
from defect_jax.distributed.sharding import batch_sharding, replicated
from defect_jax.models.initialise import Variables
from defect_jax.models.probabilities import Ensemble, OfFrames, Probabilities
from defect_jax.runtime.compilation import free_some
from defect_jax.runtime.compiler_options import compiler_options
from defect_jax.runtime.program_memory import refuse_too_large

SMALLEST_CANVAS_PX = 32
MOST_CANVASES = 32  # compiled at once, 3 MB each; the one not used for longest goes first
NONE_MARKED = np.zeros(0, np.float32)  # the probabilities of no pixels


class Frames:
    """The network on batches of frames, all of one size and of few counts."""

    def __init__(self, program: OfFrames, ema: Variables | Ensemble, mesh: Mesh, batch_size: int):
        self.batch_size, self._mesh = batch_size, mesh
        self._ema = jax.device_put(ema, replicated(mesh))
        self._program = jax.jit(
            program, out_shardings=replicated(mesh), compiler_options=compiler_options()
        )
        self._compiled: dict[tuple[int, ...], jax.stages.Compiled] = {}

    def __call__(
        self,
        image: Float32[np.ndarray, "b h w c"],
        shown: Float32[np.ndarray, "b h w"] | None = None,
    ) -> Probabilities:
        """Run a single frame alone, more as a full batch: there are two programs at most.

        Args:
            shown: as `probabilities.make_probabilities` says; always given, or never.

        Raises:
            UserError: the program needs more memory than is free.
        """
        count = self._mesh.size if len(image) <= self._mesh.size else self.batch_size
        given = [image] if shown is None else [image, shown]
        full = [filled_up(array, count) for array in given]
        filled = jax.device_put(full, batch_sharding(self._mesh))
        shape = filled[0].shape
        if shape not in self._compiled:
            self._compiled[shape] = self._that_fits(filled)
        return self._compiled[shape](self._ema, *filled)

    def _that_fits(self, filled: Sequence[jax.Array]) -> jax.stages.Compiled:
        compiled = self._program.lower(self._ema, *filled).compile()
        name = f"network on {len(filled[0])} images at once"
        refuse_too_large(name, compiled, free_some)
        return compiled


class Framed(NamedTuple):
    """An image as the network sees it, and how to get back."""

    image: Float32[np.ndarray, "h w c"]  # shares of the measured range
    placement: Placement
    native_px: tuple[int, int]
    hidden: Bool[np.ndarray, "h w"] | None  # where nothing is marked
    shown: Float32[np.ndarray, "h w"] | None  # of the frame; None: nobody asks how it looks


class Whole(NamedTuple):
    """An image to be cut into tiles."""

    image: UInt[np.ndarray, "h w c"]
    hidden: Bool[np.ndarray, "h w"] | None  # where nothing is marked


Ready = Framed | Whole
Found = tuple[Marked, float | None, Seen]  # the float is the label's probability


class WholeMarker:
    """Marks images that are scaled into one frame each, a batch after the other.

    Each image's probabilities are put back onto it by themselves, on one of few canvases, so that a
    new size seldom means a new program.
    """

    def __init__(self, spec: InputSpec, frames: Frames, thresholds: Thresholds, looks: bool):
        """Take what marks, and whether the network is asked how images look."""
        self._framing, self._frames, self._thresholds = spec.framing, frames, thresholds
        self._intensity, self._looks = spec.intensity, looks
        self._program_on = functools.lru_cache(MOST_CANVASES)(_program_on)

    def ready(
        self, image: UInt[np.ndarray, "h w c"], hidden: Bool[np.ndarray, "h w"] | None, name: str
    ) -> Framed:
        placement, size_px = self._framing.place(image.shape[:2], name), self._framing.size_px
        frame = letterbox_image(self._intensity.shares(image), placement, size_px)
        plane = shown(hidden, placement, size_px) if self._looks else None
        return Framed(frame, placement, image.shape[:2], hidden, plane)

    def mark(self, images: Sequence[Framed]) -> list[Found]:
        found, size = [], self._frames.batch_size
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            planes = [np.stack([image.shown for image in batch])] if self._looks else []
            predicted = self._frames(np.stack([image.image for image in batch]), *planes)
            predicted = predicted._replace(sums=jax.device_get(predicted.sums))
            found += [self._one(predicted, row, image) for row, image in enumerate(batch)]
        return found

    def _one(self, predicted: Probabilities, row: int, image: Framed) -> Found:
        height, width = image.native_px
        canvas = tuple(canvas_side_px(side) for side in image.native_px)
        where = np.float32(image.placement), np.int32(image.native_px)
        hidden = None
        if image.hidden is not None:
            hidden = np.pad(image.hidden, [(0, canvas[0] - height), (0, canvas[1] - width)])
        *found, probability = self._program_on(canvas)(
            predicted.mask[row], *where, self._thresholds, hidden
        )
        label = None if predicted.label is None else predicted.label[row]
        marked, heat, label = jax.device_get((*found, label))
        heat, classes = (array[:height, :width] for array in (heat, marked.classes))
        of_marked = NONE_MARKED
        if marked.area_px:  # of most images there is none: the map of floats stays on the device
            of_marked = jax.device_get(probability)[:height, :width][classes > 0]
        return (
            # Python's numbers, or the rule's threshold would be rounded to float32 beside them.
            Marked(float(marked.mask_score), int(marked.area_px), classes),
            None if label is None else float(label),
            Seen(
                np.ascontiguousarray(heat),
                of_marked,
                None if predicted.sums is None else predicted.sums[:, row],
            ),
        )


class TiledMarker:
    """Marks images through tiles, one image after the other."""

    def __init__(self, spec: InputSpec, frames: Frames, thresholds: Thresholds, looks: bool):
        """Take what marks, and whether the network is asked how images look."""
        self._framing, self._frames, self._thresholds = spec.framing, frames, thresholds
        self._intensity, self._looks = spec.intensity, looks

    def ready(
        self, image: UInt[np.ndarray, "h w c"], hidden: Bool[np.ndarray, "h w"] | None, name: str
    ) -> Whole:
        del name  # every size will do
        return Whole(image, hidden)

    def mark(self, images: Sequence[Whole]) -> list[Found]:
        return [self._one(*image) for image in images]

    def _one(
        self, image: UInt[np.ndarray, "h w c"], hidden: Bool[np.ndarray, "h w"] | None
    ) -> Found:
        native_px, label, of_marked, sums = image.shape[:2], None, [NONE_MARKED], None
        heat, grid = np.zeros(native_px, np.uint8), self._framing.grid(native_px)
        planes = grid.shown(hidden) if self._looks else None
        rows = iter_tile_rows(image, grid, self._start, self._frames.batch_size, planes)

        def maps():
            nonlocal label, sums
            first = 0
            for strip in rows:
                label, sums = strip.label, strip.sums
                here = slice(first, first + len(strip.maps))
                first += len(strip.maps)
                judged = None if hidden is None else ~hidden[here]
                probability = defect_probability(strip.maps, -1, judged)
                heat[here] = heat_map(probability, self._thresholds.pixel, judged)
                of_marked.append(probability[heat[here] >= MARKED])
                yield strip.maps if judged is None else without(strip.maps, ~judged)

        marked = mark_strips(maps(), native_px, self._thresholds)
        return marked, label, Seen(heat, np.concatenate(of_marked), sums)

    def _start(
        self, tiles: UInt[np.ndarray, "b h w c"], *planes: Float32[np.ndarray, "b h w"]
    ) -> Probabilities:
        return self._frames(self._intensity.shares(tiles), *planes)


MARKERS = {Letterbox: WholeMarker, Tiling: TiledMarker}


def _program_on(canvas_px: tuple[int, int]) -> Callable[..., tuple[Marked, Any, Any]]:
    """Return the program that marks one image from its frame's probabilities [h w classes].

    It returns what is marked, the heat map, and the probabilities [height width] of a defect.

    It is a function of its own, with all that was compiled for it: one `jit` for all canvases
    would keep each of them for as long as the process lives.
    """

    def marked(
        mask: Any, placement: Any, native: Any, thresholds: Thresholds, hidden: Any = None
    ) -> tuple[Marked, Any, Any]:
        maps = unletterbox_classes(mask[None], placement[None], native[None], canvas_px)
        valid = inside(native[None], canvas_px)
        if hidden is not None:
            valid &= ~hidden[None]
        probability = defect_probability(maps, 1, valid)
        found = mark(probability, maps.argmax(axis=1), thresholds, valid)
        heat = heat_map(probability, thresholds.pixel, valid)
        return jax.tree.map(lambda array: array[0], (found, heat, probability))

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
