"""The PyTorch network of a folder that `benchmarks.predict_networks` wrote; its ONNX file.

rivals/bin/python -m benchmarks.rivals.torch_folder FOLDER
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.rivals.torch_deployed import Deployed
from benchmarks.rivals.torch_network import SegmentationNetwork
from benchmarks.rivals.torch_weights import copy_weights

ONNX = "torch.onnx"
FIELDS = ("decoder", "widths", "attention", "deep_supervision", "classification_head", "dropout")
FIELDS += ("encoder", "label_head")
OUTPUTS = ("probability", "rejected", "mask", "score", "mask_score", "mask_rejected")


def network_of(folder: Path) -> SegmentationNetwork:
    """Return the network of its config, with our weights."""
    config = json.loads((folder / "config.json").read_text())
    fields = {name: config["model"][name] for name in FIELDS}
    network = SegmentationNetwork(**fields, channels=config["data_info"]["channels"])
    with np.load(folder / "weights.npz") as arrays:
        copy_weights(network, dict(arrays))
    return network


def deployed(folder: Path) -> Deployed:
    """Return the way from images of the network's own size to decisions, with our weights and
    our rule."""
    image = json.loads((folder / "config.json").read_text())["data_info"]
    rule = json.loads((folder / "decision.json").read_text())
    return Deployed(network_of(folder), rule, image).eval()


def export(folder: Path) -> None:
    """Write torch.onnx beside our file, for any number of images of that size."""
    config = json.loads((folder / "config.json").read_text())
    shape = (2, *config["data"]["size"], config["data_info"]["channels"])
    torch.onnx.export(
        deployed(folder),
        (torch.zeros(shape, dtype=torch.uint8),),
        folder / ONNX,
        input_names=["image"],
        output_names=list(OUTPUTS),
        dynamic_shapes={"image": {0: torch.export.Dim("b")}},
        dynamo=True,
        external_data=False,
    )


if __name__ == "__main__":
    export(Path(sys.argv[1]))
