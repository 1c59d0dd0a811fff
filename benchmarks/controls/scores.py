"""Judging post-processed masks: the same scores as one pass of an `Evaluator`."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8

from benchmarks.controls.native_maps import NativeMaps
from benchmarks.controls.post_processing import Control
from defect_jax.decision import DecisionRule
from defect_jax.decision.apply import Marked, Thresholds, decide_mask, defect_probability, mark
from defect_jax.evaluation.evaluator import PER_IMAGE, OnMask, Scores
from defect_jax.metrics.accumulated import Accumulated
from defect_jax.metrics.counts import image_counts


def scored(
    images: Iterable[NativeMaps],
    control: Control,
    pixel: float,
    made: DecisionRule,
    canvas_px: tuple[int, int],
    on_mask: OnMask = lambda row, decided: None,
) -> Scores:
    """Post-process and count images, each once.

    Args:
        images: in the order of the split's rows.
        pixel: threshold of the smoothed probability; the other thresholds are those of `made`.
        made: the decision of the network whose masks these were.
        canvas_px: height and width that hold every image, for one compiled program.
        on_mask: called with row and decided classes [h w], 0 = background, for each image.
    """
    count = jax.jit(_count)
    accumulated, rows = None, []
    for row, image in enumerate(images):
        smoothed = control.smooth(image.maps)
        decided = decided_classes(image.maps, smoothed, control, pixel, made)
        on_mask(row, decided)
        if accumulated is None:
            accumulated = Accumulated.empty(len(smoothed))
        batch = _on_canvas(canvas_px, smoothed.sum(axis=0), decided, image)
        accumulated, counts = count(accumulated, batch)
        mask_score = image.maps.sum(axis=0).max()
        score = mask_score if image.label is None else np.float32(image.label)
        rows.append({"score": score, "mask_score": mask_score} | jax.device_get(counts))
    joined = {name: np.array([row[name] for row in rows]) for name in PER_IMAGE}
    return Scores(joined, *jax.device_get(accumulated))


def decided_classes(
    maps: Float32[np.ndarray, "classes h w"],
    smoothed: Float32[np.ndarray, "classes h w"],
    control: Control,
    pixel: float,
    made: DecisionRule,
) -> UInt8[np.ndarray, "h w"]:
    """Return the class of each pixel of the mended mask, 0 = background everywhere if nothing is
    rejected.

    An image is rejected as before: a control changes the shape of masks, not which there are
    (save that one of which nothing reaches `pixel` is empty).
    """
    if not decide_mask(marked(maps, made), Thresholds.of(made)).any():
        return np.zeros(maps.shape[1:], np.uint8)
    mask = control.mend(smoothed.sum(axis=0) >= np.float32(pixel))
    return np.where(mask, 1 + smoothed.argmax(axis=0), 0).astype(np.uint8)


def marked(maps: Float32[np.ndarray, "classes h w"], made: DecisionRule) -> Marked:
    """Mark an image by its own maps, before anything is smoothed or mended."""
    probability = defect_probability(maps, class_axis=0)
    return mark(probability, maps.argmax(axis=0), Thresholds.of(made))


def _on_canvas(
    canvas_px: tuple[int, int],
    probability: Float32[np.ndarray, "h w"],
    decided: UInt8[np.ndarray, "h w"],
    image: NativeMaps,
) -> dict[str, np.ndarray]:
    """Return everything of one shape, as a batch of one image."""
    height, width = decided.shape
    planes = {
        "probability": probability,
        "decided": decided,
        "native_mask": image.truth,
        "region_weight": image.region_weight,
        "valid": np.ones((height, width), bool),
    }
    rest = ((0, canvas_px[0] - height), (0, canvas_px[1] - width))
    batch = {name: np.pad(plane, rest)[None] for name, plane in planes.items()}
    return batch | {"regions": np.int32([image.regions])}


def _count(accumulated: Accumulated, batch: dict[str, Any]) -> tuple[Accumulated, dict[str, Any]]:
    decided, valid = batch["decided"], batch["valid"]
    accumulated = accumulated.update(batch["probability"], decided, valid, batch)
    of_image = image_counts(decided > 0, batch["native_mask"] > 0, valid)
    nothing = {"unsure_px": jnp.zeros(1, jnp.int32)}  # all pixels are judged
    return accumulated, jax.tree.map(jnp.squeeze, of_image | nothing)
