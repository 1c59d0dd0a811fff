"""The whole way from a picture to a decision as one function of arrays: what is exported.

Size rule, normalisation, network, temperature, thresholds and smallest area are inside, so that
whoever runs it cannot forget one, and `predictor.Predictor` decides alike.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, UInt, UInt8
from ml_collections import ConfigDict

from defect_jax import size_rule
from defect_jax.data.tiles import is_tiled
from defect_jax.decision import DecisionRule
from defect_jax.metrics.calibration import NEAREST
from defect_jax.models.network import SegmentationNetwork
from defect_jax.predict_step import (
    ClassMaps,
    Thresholds,
    judge_maps,
    make_probabilities,
    native_maps,
)
from defect_jax.tile_rule import through_tiles

OUTPUTS = ("probability", "rejected", "mask", "score", "mask_score", "mask_rejected")

Deployed = tuple[
    Float[Array, " b"],
    Bool[Array, " b"],
    UInt8[Array, "b h w"],
    Float[Array, " b"],
    Float[Array, " b"],
    Bool[Array, " b"],
]
# Of pictures of one size to the probability of each class at their own pixels, and of the label.
Predict = Callable[[UInt[Array, "b h w c"]], tuple[ClassMaps, Float[Array, " b"] | None]]


def make_deployed(
    network: SegmentationNetwork, config: ConfigDict, average: Any, rule: DecisionRule
) -> Callable[[UInt[Array, "b h w c"]], Deployed]:
    """Returns `deployed(image) -> OUTPUTS`, for pictures of one size a call.

    Args:
        average: averaged params and batch_stats; they become constants of the function.
        rule: thresholds and temperature.
    """
    predict = (_through_tiles if is_tiled(config) else _in_one_frame)(network, config, average)
    thresholds = Thresholds(
        jnp.float32(rule.mask_threshold), jnp.float32(rule.pixel_threshold), rule.min_area_px
    )

    def deployed(image: UInt[Array, "b h w c"]) -> Deployed:
        maps, label = predict(image)
        judged = judge_maps(maps, label, jnp.bool_(True), thresholds)
        return (
            tempered(judged.score, rule.temperature),
            judged.score >= jnp.float32(rule.threshold),
            judged.classes,
            judged.score,
            judged.mask_score,
            (judged.classes > 0).any(axis=(1, 2)),
        )

    return deployed


def _in_one_frame(network: SegmentationNetwork, config: ConfigDict, average: Any) -> Predict:
    """Of pictures that are scaled into one frame."""
    data, size_px = config.data, tuple(config.data.size)
    of_frames = make_probabilities(network, config)

    def predict(image: UInt[Array, "b h w c"]) -> tuple[ClassMaps, Float[Array, " b"] | None]:
        count, height, width, _ = image.shape
        native_px = height, width
        placement = size_rule.placed(native_px, size_px, data.max_scale, data.max_stretch)
        frame = size_rule.framed(image, placement, size_px) / jnp.iinfo(image.dtype).max
        predicted = of_frames(average, frame)
        places = size_rule.on_canvas(placement, count, native_px)
        return native_maps(predicted.mask, *places, native_px), predicted.label

    return predict


def _through_tiles(network: SegmentationNetwork, config: ConfigDict, average: Any) -> Predict:
    """Of pictures that are looked at tile by tile."""
    data, classes = config.data, config.model.num_classes
    of_frames = make_probabilities(network, config)
    of_tiles = partial(of_frames, average)

    def predict(image: UInt[Array, "b h w c"]) -> tuple[ClassMaps, Float[Array, " b"] | None]:
        size_px = tuple(data.size)
        predicted = through_tiles(of_tiles, image, size_px, data.tile_overlap_px, classes)
        return jnp.moveaxis(predicted.mask, -1, 1), predicted.label

    return predict


def tempered(score: Float[Array, " b"], temperature: float) -> Float[Array, " b"]:
    """`metrics.calibration.calibrated` in float32.

    >>> tempered(jnp.array([0.5, 0.9]), 2.0).round(4).tolist()
    [0.5, 0.75]
    """
    kept = jnp.clip(score, NEAREST, 1.0 - NEAREST)
    return nn.sigmoid((jnp.log(kept) - jnp.log1p(-kept)) / temperature)
