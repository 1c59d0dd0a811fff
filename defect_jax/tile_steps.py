"""The jitted functions of an evaluation through tiles: of frames, of a strip, of what was decided.

What `steps.make_eval_step` does at once for pictures of one frame. Here a picture's map comes in
strips, and what its mask marks is known only after the last one.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8
from ml_collections import ConfigDict

from defect_jax.metrics.accumulated import Accumulated
from defect_jax.models.flips import Probabilities
from defect_jax.models.network import SegmentationNetwork
from defect_jax.predict_step import make_probabilities, normalise


def make_frames_step(
    network: SegmentationNetwork, config: ConfigDict
) -> Callable[[Any, Float[Array, "b h w c"]], Probabilities]:
    """Returns `frames_step(average, image)`: probabilities of frames in shares of full range."""
    of_frames, picture = make_probabilities(network, config), config.picture

    def frames_step(average: Any, image: Float[Array, "b h w c"]) -> Probabilities:
        return of_frames(average, normalise(image, picture.mean, picture.deviation))

    return frames_step


def see_strip(
    accumulated: Accumulated,
    maps: Float[Array, "1 h w classes"],
    valid: Bool[Array, "1 h w"],
    truth: dict[str, Any],
) -> Accumulated:
    """Adds a strip's probabilities.

    Args:
        truth: `native_mask`, `region_weight` and `regions`, the last with the first strip alone.
    """
    return accumulated.seen(jnp.where(valid, maps.sum(axis=-1), 0.0), valid, truth)


def count_strip(
    accumulated: Accumulated,
    decided: UInt8[Array, "1 h w"],
    valid: Bool[Array, "1 h w"],
    mask: UInt8[Array, "1 h w"],
) -> Accumulated:
    """Adds decided classes of some rows."""
    return accumulated.counted(decided, valid, mask)
