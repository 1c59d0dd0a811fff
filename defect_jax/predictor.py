"""A trained network in a program of your own: no flags, no globals, safe to call from threads.

    from defect_jax.predictor import load

    predictor = load("runs/folder")
    decision = predictor.predict(image)  # NumPy, [h, w] or [h, w, channels], uint8 or uint16
    decision.rejected, decision.probability, decision.mask

Pictures may have any size. The thresholds are those of the workdir's decision.json.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32, Shaped, UInt, UInt8
from ml_collections import ConfigDict

from defect_jax import configuration, tiling
from defect_jax.best_checkpoint import best_average
from defect_jax.compiler_options import compiler_options
from defect_jax.data.frame import Frame, filled_up, shares
from defect_jax.data.letterbox import Placement, letterbox_image, place
from defect_jax.data.tiles import Grid, is_tiled
from defect_jax.decision import DecisionRule
from defect_jax.errors import UserError
from defect_jax.metrics.calibration import calibrated
from defect_jax.models.flips import Probabilities
from defect_jax.models.network import SegmentationNetwork
from defect_jax.paths import AnyPath, as_path
from defect_jax.predict_step import (
    Judged,
    Thresholds,
    inside,
    judge_maps,
    make_probabilities,
    native_maps,
)
from defect_jax.sharding import batch_sharding, one_device_mesh, replicated
from defect_jax.validation import decided_before, selection_scores
from defect_jax.writers import read_history

Pictures = Shaped[np.ndarray, "..."] | Sequence[Shaped[np.ndarray, "..."]]
BATCH_SIZE = 8
SMALLEST_CANVAS_PX = 32


class Decision(NamedTuple):
    """What is decided on one picture."""

    probability: float  # of a defect, calibrated
    rejected: bool  # the score reaches its threshold
    mask: UInt8[np.ndarray, "h w"]  # decided class of each pixel, 0 = background
    score: float  # of the classification head, as it is; without one, the mask's
    mask_score: float  # highest probability of a pixel
    mask_rejected: bool  # the mask marks anything


def load(
    workdir: AnyPath | str, batch_size: int = BATCH_SIZE, mesh: Mesh | None = None
) -> "Predictor":
    """Restores the best checkpoint of a workdir, with the decision made for it.

    Args:
        batch_size: most pictures that the network sees at once; results do not depend on it.
        mesh: where to compute; the first device if not given. A predictor on several devices is
            for one thread alone.

    Raises:
        UserError: there is no trained network, or no decision for its best checkpoint.
    """
    mesh = mesh or one_device_mesh()
    return Predictor(*restore(as_path(workdir), mesh), mesh, batch_size)


class Trained(NamedTuple):
    """A trained network and how it decides."""

    network: SegmentationNetwork
    config: ConfigDict  # resolved
    average: Any  # averaged params and batch_stats
    rule: DecisionRule


def restore(workdir: AnyPath, mesh: Mesh) -> Trained:
    """The best checkpoint of a workdir and the decision made for it.

    Raises:
        UserError: there is no trained network, or no decision for its best checkpoint.
    """
    config = configuration.load(workdir)
    network = SegmentationNetwork(**config.model)
    scores = selection_scores(read_history(workdir))
    step, average = best_average(network, config, workdir, scores, mesh)
    rule = decided_before(workdir, step, config)
    if rule is None:
        raise UserError(
            f"{workdir}: holds no decision for its checkpoint {step}; run --mode=evaluate first"
        )
    return Trained(network, config, average, rule)


class Predictor:
    """Decides on pictures; made by `load`.

    The network sees batches of frames, all of one size. Each picture's probabilities are put back
    onto it by themselves, on one of few canvases, so that a new size seldom means a new program.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        config: ConfigDict,
        average: Any,
        rule: DecisionRule,
        mesh: Mesh,
        batch_size: int = BATCH_SIZE,
    ):
        """Takes averaged params and batch_stats, on the devices of `mesh`, and their thresholds."""
        self.config, self.rule, self.mesh = config, rule, mesh
        self.batch_size = -(-batch_size // mesh.size) * mesh.size
        self._frame = Frame.of(config)
        self._average = jax.device_put(average, replicated(mesh))
        self._probabilities = jax.jit(
            make_probabilities(network, config),
            out_shardings=replicated(mesh),
            compiler_options=compiler_options(),
        )
        self._judge = jax.jit(_judge, static_argnames="canvas_px")
        self._thresholds = Thresholds(
            np.float32(rule.mask_threshold),
            np.float32(rule.pixel_threshold),
            np.int32(rule.min_area_px),
        )

    def predict(self, images: Pictures) -> Decision | list[Decision]:
        """Decides on one picture, or on several of any sizes.

        Args:
            images: one of shape [h w] or [h w c]; or several, as a list of such or as [b h w c].
                Grey or RGB, as the network was trained (grey is widened), uint8 or uint16.

        Returns:
            One decision, or a list of them in the order of the pictures.

        Raises:
            UserError: a picture that the network cannot take, with its position.
        """
        if isinstance(images, np.ndarray) and images.ndim < 4:
            return self.decide([self.framed(images)])[0]
        return self.decide([self.framed(image, f"picture {n}") for n, image in enumerate(images)])

    def framed(self, image: Shaped[np.ndarray, "..."], name: str = "the picture") -> "Ready":
        """Checks a picture and brings it into the network's frame: the part to do in threads.

        One that is looked at through tiles stays as it is.

        Raises:
            UserError: it cannot be used; `name` is named.
        """
        frame = self._frame
        image = frame.common(checked(image, name), name)
        if is_tiled(self.config):
            return image
        limits = frame.min_scale, frame.max_scale, frame.max_stretch
        placement = place(image.shape[:2], frame.size_px, *limits, name)
        seen = letterbox_image(shares(image), placement, frame.size_px)
        return Framed(seen, placement, image.shape[:2])

    def decide(self, pictures: Sequence["Ready"]) -> list[Decision]:
        """Decides on framed pictures, a batch after the other; on large ones one by one."""
        if is_tiled(self.config):
            return [self._through_tiles(picture) for picture in pictures]
        size, decisions = self.batch_size, []
        for start in range(0, len(pictures), size):
            batch = pictures[start : start + size]
            predicted = self._predict_frames(np.stack([picture.image for picture in batch]))
            decisions += [
                self._decision(_row(predicted, row), picture) for row, picture in enumerate(batch)
            ]
        return decisions

    def _predict_frames(self, image: Float32[np.ndarray, "b h w c"]) -> Probabilities:
        """A single picture alone, more as a full batch, so that there are two programs at most."""
        count = self.mesh.size if len(image) <= self.mesh.size else self.batch_size
        filled = jax.device_put(filled_up(image, count), batch_sharding(self.mesh))
        return self._probabilities(self._average, filled)

    def _decision(self, predicted: Probabilities, picture: "Framed") -> Decision:
        native = np.int32(picture.native_px)
        canvas = tuple(canvas_side_px(side) for side in picture.native_px)
        placement = np.float32(picture.placement)
        judged = self._judge(predicted, placement, native, self._thresholds, canvas_px=canvas)
        score, mask_score, mask = jax.device_get((judged.score, judged.mask_score, judged.classes))
        mask = np.ascontiguousarray(mask[0, : native[0], : native[1]])
        return self._ruled(float(score[0]), float(mask_score[0]), mask)

    def _through_tiles(self, image: UInt[np.ndarray, "h w c"]) -> Decision:
        native_px = image.shape[:2]
        grid = Grid.of(self.config, native_px)
        strips = tiling.look(image, grid, self._predict_frames, self.batch_size)
        return self._ruled(*tiling.decide(strips, native_px, self._thresholds))

    def _ruled(self, score: float, mask_score: float, mask: UInt8[np.ndarray, "h w"]) -> Decision:
        return Decision(
            probability=float(calibrated([score], self.rule.temperature)[0]),
            rejected=score >= self.rule.threshold,
            mask=mask,
            score=score,
            mask_score=mask_score,
            mask_rejected=bool(mask.any()),
        )


class Framed(NamedTuple):
    """A picture as the network sees it, and how to get back."""

    image: Float32[np.ndarray, "h w c"]  # shares of the full range
    placement: Placement
    native_px: tuple[int, int]


Ready = Framed | UInt[np.ndarray, "h w c"]  # the latter to be looked at through tiles


def checked(image: Shaped[np.ndarray, "..."], name: str) -> UInt[np.ndarray, "h w c"]:
    """The picture with its axis of channels.

    Raises:
        UserError: other axes, other numbers, or nothing in it.

    >>> checked(np.zeros((2, 3), np.uint8), "x").shape
    (2, 3, 1)
    """
    image = np.asarray(image)
    shaped = image[..., None] if image.ndim == 2 else image
    if shaped.ndim != 3 or shaped.shape[2] not in (1, 3) or shaped.size == 0:
        raise UserError(
            f"{name}: has shape {list(image.shape)}: give [height, width] for grey or "
            "[height, width, 3] for RGB"
        )
    if shaped.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{name}: holds {image.dtype}: give uint8 or uint16")
    return shaped


def canvas_side_px(side: int) -> int:
    """The next of few lengths, at most a quarter longer: four to each doubling.

    >>> [canvas_side_px(side) for side in (1, 32, 33, 600, 700, 2700)]
    [32, 32, 40, 640, 768, 3072]
    """
    octave = SMALLEST_CANVAS_PX
    while side > 2 * octave:
        octave *= 2
    if side <= octave:
        return octave
    return octave + -(-(side - octave) * 4 // octave) * octave // 4


def _row(predicted: Probabilities, row: int) -> Probabilities:
    label = None if predicted.label is None else predicted.label[row]
    return Probabilities(predicted.mask[row], label)


def _judge(
    predicted: Probabilities,
    placement: Any,
    native: Any,
    thresholds: Thresholds,
    canvas_px: tuple[int, int],
) -> Judged:
    """Of one picture: its frame's probabilities [h w classes] and label [] to its decision."""
    maps = native_maps(predicted.mask[None], placement[None], native[None], canvas_px)
    label = None if predicted.label is None else predicted.label[None]
    return judge_maps(maps, label, inside(native[None], canvas_px), thresholds)
