"""Writes torch_training.json: losses of benchmarks/rivals' PyTorch training with our weights.

Run once, from the root of the project, where there is

    pip install torch==2.14.1

beside this package, with PYTHONPATH=.:tests; and never by the tests: they read the values it left.
"""

import json
import pathlib

import numpy as np
import torch
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict
from tiny_networks import class_batch, lively, training_config

from benchmarks.rivals.torch_folder import FIELDS
from benchmarks.rivals.torch_network import SegmentationNetwork
from benchmarks.rivals.torch_training import Training
from benchmarks.rivals.torch_weights import copy_weights
from defect_jax.models import network as ours
from defect_jax.models.initialise import initial_variables

STEPS = 6


def history(config: ConfigDict) -> list[dict[str, float]]:
    """What PyTorch's step says, step by step."""
    shape = (1, *config.data.size, 1)
    variables = lively(initial_variables(ours.SegmentationNetwork(**config.model), shape, seed=0))
    network = SegmentationNetwork(**{name: config.model[name] for name in FIELDS}, channels=1)
    copy_weights(network, flatten_dict(variables, sep="/"))
    training = Training(network, config.to_dict(), compiled=False)
    batch = {
        name: torch.from_numpy(np.array(array)) for name, array in class_batch(classes=1).items()
    }
    steps = (training(batch) for _ in range(STEPS))
    return [{name: value.item() for name, value in step.items()} for step in steps]


if __name__ == "__main__":
    path = pathlib.Path(__file__).with_name("torch_training.json")
    path.write_text(json.dumps(history(training_config())) + "\n")
