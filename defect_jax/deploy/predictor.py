"""A trained network in a program of your own: no flags, no globals, safe to call from threads.

    from defect_jax.predictor import load

    predictor = load("runs/folder")
    decision = predictor.predict(image)  # [h, w] or [h, w, channels], uint8 or uint16
    decision.rejected, decision.probability, decision.mask

Images may have any size, and be arrays of NumPy, JAX or PyTorch, or Pillow's. The thresholds are
those of the workdir's decision.json.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float32, UInt
from ml_collections import ConfigDict

from defect_jax.data.geometry.framing import Letterbox, Tiling
from defect_jax.data.geometry.input_spec import InputSpec, filled_up
from defect_jax.data.geometry.letterbox import Placement, letterbox_image
from defect_jax.data.geometry.region import HIDDEN, without
from defect_jax.data.geometry.stitching import iter_tile_rows
from defect_jax.data.geometry.unletterbox import inside, unletterbox_classes
from defect_jax.decision import DecisionRule
from defect_jax.decision.apply import (
    Decision,
    Marked,
    Thresholds,
    decide,
    defect_probability,
    mark,
    mark_strips,
    why_undecided,
)
from defect_jax.deploy.arrays import checked, checked_ignored, listed_images
from defect_jax.deploy.part_in_progress import PartInProgress
from defect_jax.distributed.sharding import batch_sharding, one_device_mesh, replicated
from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import Ensemble, OfFrames, Probabilities, make_probabilities
from defect_jax.runtime.compilation import free_some
from defect_jax.runtime.compiler_options import compiler_options
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.forks import refuse_fork
from defect_jax.runtime.paths import AnyPath, as_path
from defect_jax.runtime.program_memory import refuse_too_large
from defect_jax.workdir.best_weights import restore_trained

BATCH_SIZE = 8
SMALLEST_CANVAS_PX = 32
MOST_CANVASES = 32  # compiled at once, 3 MB each; the one not used for longest goes first


def load(
    workdir: AnyPath | str, batch_size: int = BATCH_SIZE, mesh: Mesh | None = None
) -> "Predictor":
    """Restore the best checkpoint of a workdir, with the decision made for it.

    Args:
        batch_size: most images that the network sees at once; it changes results by rounding alone.
        mesh: where to compute; the first device if not given. A predictor on several devices is
            for one thread alone.

    Raises:
        UserError: there is no trained network, or no decision for its best checkpoint.
    """
    refuse_fork()
    mesh = mesh or one_device_mesh()
    return Predictor(*restore_trained(as_path(workdir), mesh), mesh, batch_size)


class Predictor:
    """Decides on images; made by `load`."""

    def __init__(
        self,
        network: SegmentationNetwork,
        config: ConfigDict,
        ema: Variables | Ensemble,
        rule: DecisionRule,
        mesh: Mesh,
        batch_size: int = BATCH_SIZE,
    ):
        """Take averaged weights, on the devices of `mesh`, and the rule made for them."""
        refuse_fork()
        self.config, self.rule, self.mesh, self.spec = config, rule, mesh, InputSpec.of(config)
        self.batch_size = -(-batch_size // mesh.size) * mesh.size
        program = make_probabilities(network, config.data_info, config.evaluation)
        frames = _Frames(program, ema, mesh, self.batch_size)
        self._marker = MARKERS[type(self.spec.framing)](self.spec, frames, Thresholds.of(rule))

    def predict(self, images: Any, ignored: Any = None) -> Decision | list[Decision]:
        """Decide on one image, or on several of any sizes.

        Args:
            images: one of shape [h w] or [h w c]; or several, as a list of such or as [b h w c].
                Grey or RGB, as the network was trained (grey is widened, and RGB that is grey
                narrowed), or all channels of a shot's lights, uint8 or uint16; an
                array of whatever NumPy reads, see `arrays.listed_images`.
            ignored: what is not to be judged, not 0 there, [h w]; of several images a list of
                such, or of None where all of an image is judged. What `config.data.region` leaves
                out is never judged.

        Returns:
            One decision, or a list of them in the order of the images.

        Raises:
            UserError: an image that the network cannot take, or has no number for, with its
                position.
        """
        listed, alone = listed_images(images)
        if alone:
            return self.decide([self.ready(listed[0], ignored=ignored)])[0]
        planes = [None] * len(listed) if ignored is None else list(ignored)
        if len(planes) != len(listed):
            raise UserError(f"ignored: is for {len(planes)} images, and there are {len(listed)}")
        named = enumerate(zip(listed, planes, strict=True))
        return self.decide([self.ready(image, f"image {n}", own) for n, (image, own) in named])

    def part(self) -> PartInProgress:
        """Return a part, whose shots are given one after the other: `part.look(image)`.

        Raises:
            UserError: there is no decision on parts.
        """
        return PartInProgress(self.predict, self.rule)

    def ready(self, image: Any, name: str = "the image", ignored: Any = None) -> "Ready":
        """Check an image and bring it into the form that `decide` takes: the part for threads.

        Args:
            ignored: what of it is not to be judged, as of `predict`.

        Raises:
            UserError: it cannot be used; `name` is named.
        """
        given = checked(image, name, self.spec.lights)
        image = self.spec.common(given, name)
        plane = self.spec.ignored(image.shape[:2], name, checked_ignored(ignored, image, name))
        shown = self.spec.hidden(image, plane)
        if given.dtype != np.uint8:  # how 8 bits become 16 is known
            self.spec.refuse_other_depth(shown, name)
        return self._marker.ready(shown, None if plane is None else plane == HIDDEN, name)

    def decide(self, images: Sequence["Ready"]) -> list[Decision]:
        """Decide on images that `ready` returned, as many at once as the network takes.

        Raises:
            UserError: in a process that was forked after the network was loaded; or the network's
                answer to an image is no number, and its position is named.
        """
        decisions = self.decide_each(images)
        for place, decision in enumerate(decisions):
            if why := why_undecided(decision.score, decision.mask_score):
                raise UserError(f"{f'image {place}' if len(images) > 1 else 'the image'}: {why}")
        return decisions

    def decide_each(self, images: Sequence["Ready"]) -> list[Decision]:
        """Do the same, but hand out what is no number: rejected, see `apply.why_undecided`."""
        refuse_fork()
        found = (decide(marked, label, self.rule) for marked, label in self._marker.mark(images))
        return [_on_host(decision) for decision in found]


class _Frames:
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


class _WholeMarker:
    """Marks images that are scaled into one frame each, a batch after the other.

    Each image's probabilities are put back onto it by themselves, on one of few canvases, so that a
    new size seldom means a new program.
    """

    def __init__(self, spec: InputSpec, frames: _Frames, thresholds: Thresholds):
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


class _TiledMarker:
    """Marks images through tiles, one image after the other."""

    def __init__(self, spec: InputSpec, frames: _Frames, thresholds: Thresholds):
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


MARKERS = {Letterbox: _WholeMarker, Tiling: _TiledMarker}


def _on_host(decision: Decision) -> Decision:
    """Turn NumPy scalars into Python's, and the mask into memory of its own."""
    mask = np.ascontiguousarray(decision.mask)
    plain = {name: np.asarray(value) for name, value in decision._asdict().items()}
    return Decision(**{name: v.item() if v.ndim == 0 else mask for name, v in plain.items()})


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
