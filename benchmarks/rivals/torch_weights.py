"""Weights of a Flax network in the PyTorch network of the same names."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

# Flax's name of a leaf -> PyTorch's. A kernel of either rank has its outputs last in Flax.
LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
OUTPUTS_FIRST = {2: (1, 0), 4: (3, 2, 0, 1)}


def copy_weights(network: nn.Module, variables: Mapping[str, np.ndarray]) -> None:
    """Overwrite every parameter and running statistic of `network`.

    Args:
        variables: path such as "params/encoder/x_0_0/conv_1/kernel" -> array, as
            `flax.traverse_util.flatten_dict` makes them with `sep="/"`.

    Raises:
        RuntimeError: either side has an array that the other lacks, or of another shape.
    """
    state = dict(map(_renamed, variables.items()))
    counters = {name for name in network.state_dict() if name.endswith("num_batches_tracked")}
    network.load_state_dict(state | {name: torch.tensor(0) for name in counters})


def _renamed(item: tuple[str, np.ndarray]) -> tuple[str, Tensor]:
    path, array = item
    _, *modules, leaf = path.split("/")
    if leaf == "kernel":
        array = np.transpose(array, OUTPUTS_FIRST[array.ndim])
    return ".".join((*modules, LEAVES[leaf])), torch.from_numpy(np.array(array, np.float32))
