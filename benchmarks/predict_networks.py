"""Networks for `benchmarks.predict`, in a folder that every contender reads: ours and the rivals.

config.json, decision.json, weights.npz    what the network is
model.stablehlo, model.onnx                as `--mode=export` writes them
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import UInt8
from ml_collections import ConfigDict

from defect_jax.configs.base import base
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.geometry.intensity import IntensityRange
from defect_jax.decision import DecisionRule
from defect_jax.decision.apply import Decision
from defect_jax.deploy.export import INPUT, ONNX, STABLEHLO, input_shape, to_stablehlo
from defect_jax.deploy.onnx import to_onnx
from defect_jax.deploy.program import make_program
from defect_jax.distributed.sharding import one_device_mesh
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import as_path
from defect_jax.workdir.best_weights import Trained, restore_trained

CONFIG, RULE, WEIGHTS = "config.json", "decision.json", "weights.npz"
SIZE_PX = (640, 256)
# What benchmarks/rivals has: field -> the values that it knows.
KNOWN = {
    "model.encoder": ("plain", "efficientnet_lite0"),
    "model.label_head": ("deepest", "rows"),
    "model.decoder": ("unet", "unetplusplus"),
    "model.attention": ("none", "scse"),
    "model.norm": ("batch",),
    "model.num_classes": (1,),
    "model.localisation": ("none",),
    "model.pixel_confidence": ("none",),
    "evaluation.dtype": ("float32",),
    "evaluation.flips": (False,),
    "data.tile_overlap_px": (0,),
    "data_info.bit_depth": (8,),
}


def random(widths: Sequence[int]) -> Trained:
    """Return a U-Net++ that has learnt nothing: that changes no time. Half of the pixels are
    marked."""
    config = ConfigDict(base().to_dict())
    config.model.widths, config.data.size = tuple(widths), SIZE_PX
    config.data.min_scale = config.data.max_scale = 1.0  # no image is ever scaled
    config.data_info = {"channels": 1, "bit_depth": 8, "classes": ["defect"]}
    config.data_info.update({"mean": 0.4, "std": 0.2, "fingerprint": "random"})
    network = SegmentationNetwork(**config.model)
    flat = flatten_dict(initial_variables(network, (1, *SIZE_PX, 1), seed=0))
    rng = np.random.default_rng(0)
    average = unflatten_dict({path: moved(path[-1], array, rng) for path, array in flat.items()})
    score, pixel = 0.5, 0.12  # the mask's probabilities start about σ(-2) = 0.119
    rule = DecisionRule(score, pixel, pixel, checkpoint_step=0, pictures=0, defective=0)
    return Trained(network, config, average, rule)


def moved(name: str, array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an initial array off the zeros and ones that a wrong program would not show."""
    if name == "kernel":
        drawn = rng.normal(0.0, np.prod(array.shape[:-1]) ** -0.5, array.shape)
        return array if array.any() else drawn.astype(np.float32)
    noise = rng.normal(0.0, 0.1, array.shape)
    factor, summand = (np.exp(noise), 0.0) if name in ("scale", "var") else (1.0, noise)
    return (array * factor + summand).astype(np.float32)


def trained(workdir: str) -> Trained:
    """Return the network of a workdir.

    Raises:
        UserError: it has a part that the rivals lack.
    """
    found = restore_trained(as_path(workdir), one_device_mesh())
    for field, known in KNOWN.items():
        group, name = field.split(".")
        if found.config[group][name] not in known:
            raise UserError(
                f"{workdir}: config.{field} is {found.config[group][name]!r}: this benchmark "
                f"knows {', '.join(map(repr, known))}"
            )
    return found


def write(found: Trained, folder: Path) -> None:
    """Fill the folder."""
    (folder / CONFIG).write_text(json.dumps(found.config.to_dict()))
    found.rule.to_json(folder / RULE)
    np.savez(folder / WEIGHTS, **flatten_dict(found.ema, sep="/"))
    deployed, shape = make_program(*found), input_shape(InputSpec.of(found.config))
    (folder / STABLEHLO).write_bytes(to_stablehlo(deployed, shape))
    onnx = to_onnx(deployed, {INPUT: shape}, Decision._fields)
    (folder / ONNX).write_bytes(onnx.SerializeToString())


def read(folder: Path) -> Trained:
    """Return what `write` was given."""
    config = ConfigDict(json.loads((folder / CONFIG).read_text()))
    with np.load(folder / WEIGHTS) as arrays:
        average = unflatten_dict(dict(arrays), sep="/")
    rule = DecisionRule.from_json(folder / RULE)
    return Trained(SegmentationNetwork(**config.model), config, average, rule)


def images(config: ConfigDict, count: int) -> UInt8[np.ndarray, "b h w c"]:
    """Return noise of the size that the network sees, and of the training images' intensity."""
    shape = (count, *config.data.size, config.data_info.channels)
    rng = np.random.default_rng(1)
    noise = rng.normal(config.data_info.mean, config.data_info.std, shape)
    return IntensityRange.of(config.data_info).counts(noise, np.uint8)
