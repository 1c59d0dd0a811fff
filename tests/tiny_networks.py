"""Tiny networks and their inputs, for the tests of the models."""

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from defect_jax.configs import synthetic

TINY = (4, 8, 16)


def shake(variables, seed=7):
    """Moves every variable off its initial value, so that zeros and ones hide nothing."""
    rng = np.random.default_rng(seed)
    flat = flatten_dict(variables)
    moved = {
        path: value + rng.uniform(0.05, 0.4, value.shape).astype(np.float32)
        for path, value in flat.items()
    }
    return unflatten_dict(moved)


def lively(variables, seed=7):
    """Shaken, and every convolution's kernel centred: with positive ones no ReLU would ever be 0,
    and logits would have one sign for all images."""
    moved = shake(variables, seed)
    return jax.tree.map(lambda x: x - np.float32(x.mean()) if x.ndim == 4 else x, moved)


def evaluate(model, variables, image):
    return jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, image)


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def every_part(localisation, **changes):
    """A config of a network that has every part, for images of 16 px.

    Args:
        localisation: where its features come from.
        changes: dotted field -> value.
    """
    config = ConfigDict(synthetic.get_config("debug").to_dict())
    config.model.update(
        decoder="unet",
        widths=(4, 8),
        attention="none",
        dropout=0.0,
        num_classes=3,
        localisation=localisation,
        localisation_widths=(4, 8),
        embedding=True,
        pixel_confidence="learnt",
        window_px=3,
    )
    config.loss.update(defect_weight=4.0, weight_localised=True, weight_dilation_px=1)
    config.data.size = (16, 16)
    config.data_info = {"channels": 1, "mean": 0.4, "std": 0.1, "bit_depth": 8, "leaking": False}
    config.data_info.update(fingerprint="f", defect_edges_px=None, classes=["a", "b", "c"])
    config.update_from_flattened_dict(changes)
    return config


def class_batch(size=8, classes=3, seed=0):
    """Dark images of 16 px; in every other one there is a brighter patch of each class."""
    rng = np.random.default_rng(seed)
    label = (np.arange(size) % 2).astype(np.float32)
    mask = np.zeros((size, 16, 16), np.uint8)
    for class_id in range(1, classes + 1):
        mask[label > 0, 3 * class_id - 1 : 3 * class_id + 1, 5:11] = class_id
    image = rng.integers(60, 120, (size, 16, 16, 1)) + 20 * mask[..., None]
    valid = np.ones(mask.shape, bool)
    valid[:, :2] = False
    batch = {"image": np.float32(image / 255), "mask": mask, "valid": valid, "label": label}
    return batch | {"masked": np.ones(size, np.float32)}


def training_config():
    """A config whose training is written in PyTorch too: benchmarks/rivals/torch_training.py."""
    config = ConfigDict(synthetic.get_config("debug").to_dict())
    config.model.update(widths=(4, 8), dropout=0.0)
    config.data.size = (16, 16)
    config.balance.method = "fixed"
    config.balance.fixed.weights.update(segmentation=0.7, classification=0.3)
    config.optimizer.update(learning_rate=0.01, warmup_steps=2, clip_norm=0.5)
    config.data_info = {"channels": 1, "mean": 0.4, "std": 0.2}
    return config
