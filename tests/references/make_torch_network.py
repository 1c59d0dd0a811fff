"""Writes torch_network.json: what benchmarks/rivals' PyTorch networks say with our weights.

Run once, from the root of the project, where there is

    pip install torch==2.14.1

beside this package, with PYTHONPATH=.:tests; and never by the tests: they read the values it left.
"""

import itertools
import json
import pathlib
from typing import Any

import numpy as np
import torch
from flax.traverse_util import flatten_dict
from tiny_networks import TINY, images, lively

from benchmarks.rivals.torch_network import SegmentationNetwork
from benchmarks.rivals.torch_weights import copy_weights
from defect_jax.models import network as ours
from defect_jax.models.initialise import initial_variables

SHAPE = (2, 8, 12, 3)  # the deepest of three rows is 2x3 cells


def fields() -> list[dict[str, Any]]:
    """Both decoders, with and without attention; then without each of the optional heads."""
    both = itertools.product(("unet", "unetplusplus"), ("none", "scse"))
    whole = [
        {"decoder": decoder, "attention": attention, "widths": TINY}
        | {"deep_supervision": True, "classification_head": True}
        for decoder, attention in both
    ]
    return [*whole, whole[-1] | {"deep_supervision": False, "classification_head": False}]


def main() -> None:
    cases = []
    for chosen in fields():
        variables = lively(initial_variables(ours.SegmentationNetwork(**chosen), SHAPE, seed=0))
        network = SegmentationNetwork(**chosen, channels=SHAPE[-1]).eval()
        copy_weights(network, flatten_dict(variables, sep="/"))
        image = torch.from_numpy(np.array(images(*SHAPE))).permute(0, 3, 1, 2)
        with torch.inference_mode():
            masks, label = network(image)
        cases.append(
            {
                "fields": chosen,
                "parameters": sum(each.numel() for each in network.parameters()),
                "mask_logits": masks.permute(0, 1, 3, 4, 2).tolist(),
                "label_logits": None if label is None else label.tolist(),
            }
        )
    path = pathlib.Path(__file__).with_name("torch_network.json")
    path.write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()
