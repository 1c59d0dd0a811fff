"""From framed pictures to decided masks: what evaluation, prediction and export have in common."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt, UInt8
from ml_collections import ConfigDict

from defect_jax.models.flips import Probabilities, over_flips, probabilities
from defect_jax.models.network import SegmentationNetwork
from defect_jax.native import Side, to_native

ClassMaps = Float[Array, "b classes h w"]  # probability of each class of defect, at native size


class Thresholds(NamedTuple):
    """What turns probabilities into decisions inside a program."""

    mask: Any  # shape=(), float32
    pixel: Any  # shape=(), float32
    area_px: Any  # shape=(), int32


class Judged(NamedTuple):
    """What is said of a batch of pictures."""

    score: Float[Array, " b"]  # of the classification head; without one, the mask's
    mask_score: Float[Array, " b"]  # highest probability of a pixel
    probability: Float[Array, "b h w"]  # of any defect; 0 outside the picture
    classes: UInt8[Array, "b h w"]  # decided class of each pixel, 0 = background


def normalise(
    image: UInt[Array, "b h w c"] | Float[Array, "b h w c"], mean: float, deviation: float
) -> Float[Array, "b h w c"]:
    """Brings pictures to about zero mean and unit deviation, all by the same two numbers.

    Each picture by its own mean and deviation would hide its exposure, but also what a large stain
    changes, and on a few hundred training pictures the network then learnt labels by heart sooner.

    Args:
        image: integers, or shares of the full range.
        mean, deviation: of the training pictures (`data.intensity`), as shares of the full range.

    >>> normalise(jnp.array([[[[51], [153]]]], jnp.uint8), 0.4, 0.2).round(4).ravel().tolist()
    [-1.0, 1.0]
    """
    if jnp.issubdtype(image.dtype, jnp.integer):
        image = image.astype(jnp.float32) / jnp.iinfo(image.dtype).max
    return (image - mean) / deviation


def make_probabilities(
    network: SegmentationNetwork, config: ConfigDict
) -> Callable[[Any, UInt[Array, "b h w c"] | Float[Array, "b h w c"]], Probabilities]:
    """Returns `probabilities(average, image)` of frames, over mirror images if asked.

    Frames are integers or shares of the full range, as `normalise` takes them. In
    `config.evaluation.dtype`, whatever the network was trained in.
    """
    network, picture = network.clone(dtype=config.evaluation.dtype), config.picture

    def of_frames(
        average: Any, image: UInt[Array, "b h w c"] | Float[Array, "b h w c"]
    ) -> Probabilities:
        image = normalise(image, picture.mean, picture.deviation)

        def of_view(view: Float[Array, "b h w c"]) -> Probabilities:
            return probabilities(network.apply(average, view, train=False))

        return over_flips(of_view, image) if config.evaluation.flips else of_view(image)

    return of_frames


def native_maps(
    mask: Float[Array, "b h w classes"],
    placement: Float[Array, "b 4"],
    native_size: Int[Array, "b 2"],
    canvas_px: tuple[Side, Side],
) -> Float[Array, "b classes height width"]:
    """Probabilities of the frame at each native pixel; outside a picture they repeat its border."""
    place = placement, native_size, canvas_px
    return jnp.stack([to_native(mask[..., k], *place) for k in range(mask.shape[-1])], axis=1)


def make_predict(
    network: SegmentationNetwork, config: ConfigDict, canvas_px: tuple[int, int]
) -> Callable[[Any, dict[str, Any]], tuple[ClassMaps, Float[Array, " b"] | None]]:
    """Returns `predict(average, batch)`: probability of each class of defect at each native pixel,
    and of the label."""
    of_frames = make_probabilities(network, config)

    def predict(average: Any, batch: dict[str, Any]):
        predicted = of_frames(average, batch["image"])
        maps = native_maps(predicted.mask, batch["placement"], batch["native_size"], canvas_px)
        return maps, predicted.label

    return predict


def judge_maps(
    maps: Float[Array, "b classes h w"],
    label: Float[Array, " b"] | None,
    valid: Bool[Array, "b h w"] | Bool[Array, ""],
    thresholds: Thresholds,
) -> Judged:
    """Scores and decided masks of pictures at native size; nothing outside `valid` counts."""
    probability = jnp.where(valid, maps.sum(axis=1), 0.0)
    mask_score = probability.max(axis=(1, 2))
    decided = decide_mask(probability, mask_score, valid, thresholds)
    classes = jnp.where(decided, 1 + jnp.argmax(maps, axis=1), 0).astype(jnp.uint8)
    return Judged(mask_score if label is None else label, mask_score, probability, classes)


def decide_mask(
    probability: Float[Array, "b h w"],
    mask_score: Float[Array, " b"],
    valid: Bool[Array, "b h w"] | Bool[Array, ""],
    thresholds: Thresholds,
) -> Bool[Array, "b h w"]:
    """Pixels above the pixel threshold, in pictures whose highest one reaches the mask's and that
    have enough of them.

    One threshold for both would have to be high, for few false alarms, and low, for whole masks.
    """
    marked = (probability >= thresholds.pixel) & valid
    large = marked.sum(axis=(1, 2), dtype=jnp.int32) >= thresholds.area_px
    rejected = (mask_score >= thresholds.mask) & large
    return marked & rejected[:, None, None]


def inside(native_size: Int[Array, "b 2"], canvas_px: tuple[Side, Side]) -> Bool[Array, "b h w"]:
    """Which pixels of the canvas each picture covers."""
    rows = jnp.arange(canvas_px[0])[None, :] < native_size[:, :1]
    columns = jnp.arange(canvas_px[1])[None, :] < native_size[:, 1:]
    return rows[:, :, None] & columns[:, None, :]
