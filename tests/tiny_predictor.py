"""A predictor of a tiny network with random weights, for tests that need decisions and no skill."""

import numpy as np
from ml_collections import ConfigDict
from tiny_networks import lively

from defect_jax.configs import synthetic
from defect_jax.decision import DecisionRule
from defect_jax.deploy.predictor import Predictor
from defect_jax.distributed.sharding import one_device_mesh
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork

RULE = DecisionRule(  # between the scores of the surfaces below, so that decisions differ
    threshold=0.94,
    mask_threshold=0.22,
    pixel_threshold=0.2,
    checkpoint_step=8,
    pictures=10,
    defective=5,
    min_area_px=2,
    temperature=1.5,
)
MADE: dict[tuple, Predictor] = {}  # by what was asked of `tiny_predictor`


def tiny_config(**changes):
    """A resolved config for frames of 32x48 px.

    Args:
        changes: dotted field -> value.
    """
    config = ConfigDict(synthetic.get_config("debug").to_dict())
    config.model.update(decoder="unet", widths=(4, 8), attention="none")
    config.data.size = (32, 48)
    config.data_info = {
        "channels": 1,
        "bit_depth": 8,
        "classes": ["defect"],
        "mean": 0.4,
        "std": 0.2,
        "fingerprint": "f",
    }
    config.update_from_flattened_dict(changes)
    return config


def tiny_network(config):
    """The network of a config and random variables."""
    network = SegmentationNetwork(**config.model)
    shape = (1, *config.data.size, config.data_info.channels)
    variables = initial_variables(network, shape, seed=0)
    ema = lively(variables, seed=3)  # logits of one sign would make every decision the same
    return network, {"params": ema["params"], "batch_stats": ema.get("batch_stats", {})}


def tiny_predictor(rule=RULE, batch_size=4, mesh=None, **changes):
    """A predictor on the first device, or those of `mesh`.

    The same one for the same arguments, so that its programs are compiled once.
    """
    mesh = mesh or one_device_mesh()
    asked = repr((rule, batch_size, sorted(changes.items()))), mesh
    if asked not in MADE:
        config = tiny_config(**changes)
        network, ema = tiny_network(config)
        MADE[asked] = Predictor(network, config, ema, rule, mesh, batch_size)
    return MADE[asked]


def surface(height, width, channels=1, dtype=np.uint8, seed=0):
    """A noisy image with a bright patch; [h w] where it is grey."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0.4, 0.1, (height, width, channels))
    top, left = rng.integers(height), rng.integers(width)
    image[top : top + 9, left : left + 9] += rng.uniform(-0.4, 0.5)
    image = (np.clip(image, 0, 1) * np.iinfo(dtype).max).astype(dtype)
    return image[..., 0] if channels == 1 else image
