"""Tiny networks of random weights, so that files can be compared without training anything first.

For grey and RGB images of 8 and 16 bits, each scaled into one frame and looked at through tiles.
"""

from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jaxtyping import UInt
from ml_collections import ConfigDict

from defect_jax.configs import synthetic
from defect_jax.decision import DecisionRule
from defect_jax.deploy.predictor import Predictor
from defect_jax.distributed.sharding import one_device_mesh
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.workdir.best_weights import Trained

IMAGES = {"grey, 8 bits": (1, 8), "RGB, 8 bits": (3, 8), "RGB, 16 bits": (3, 16)}
OVERLAPS_PX = {"scaled": 0, "tiles": 16}


def random_networks() -> Iterator[tuple[str, Trained]]:
    """Yield each with its name; thresholds are for `with_thresholds`."""
    for image, (channels, bit_depth) in IMAGES.items():
        for look, overlap_px in OVERLAPS_PX.items():
            config = _config(channels, bit_depth, overlap_px)
            network = SegmentationNetwork(**config.model)
            shape = (1, *config.data.size, channels)
            average = jax.tree.map(_spread, initial_variables(network, shape, seed=0))
            yield f"{image}, {look}", Trained(network, config, average, _rule(0.5, 0.5))


def _config(channels: int, bit_depth: int, overlap_px: int) -> ConfigDict:
    config = ConfigDict(synthetic.get_config("debug").to_dict())
    config.model.update(widths=(4, 8), attention="none")
    config.data.update(size=(32, 48), tile_overlap_px=overlap_px)
    config.data_info = {
        "channels": channels,
        "bit_depth": bit_depth,
        "classes": ["defect"],
        "mean": 0.4,
        "std": 0.2,
        "fingerprint": "",
    }
    return config


def _spread(array: jax.Array) -> jax.Array:
    """Return larger kernels, as a network has that has learnt: else all its answers are alike."""
    return array * 2.0 if array.ndim == 4 else array


def with_thresholds(trained: Trained, images: Sequence[UInt[np.ndarray, "h w c"]]) -> Trained:
    """Return the network with thresholds that half of the images reach."""
    decisions = Predictor(*trained, one_device_mesh()).predict(list(images))
    scores = ([getattr(each, name) for each in decisions] for name in ("score", "mask_score"))
    return trained._replace(rule=_rule(*(float(np.median(each)) for each in scores)))


def _rule(score: float, mask_score: float) -> DecisionRule:
    return DecisionRule(
        threshold=score,
        mask_threshold=mask_score,
        pixel_threshold=0.9 * mask_score,
        checkpoint_step=0,
        pictures=0,
        defective=0,
        min_area_px=2,
        temperature=1.5,
    )
