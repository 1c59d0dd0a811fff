"""The nearest network of segmentation_models.pytorch: its U-Net++ with scSE and a label.

Another architecture: a ResNet-34 as encoder, one mask head, 26 million parameters. It is timed
beside ours and not compared with it number by number.
"""

import json
from pathlib import Path

import segmentation_models_pytorch as smp
from torch import Tensor, nn

from benchmarks.rivals.torch_network import Outputs


class SmpNetwork(nn.Module):
    """Image in, mask logits and label logits out, as `torch_network.SegmentationNetwork`."""

    def __init__(self, channels: int):
        super().__init__()
        self.network = smp.UnetPlusPlus(
            "resnet34",
            encoder_weights=None,
            in_channels=channels,
            decoder_attention_type="scse",
            aux_params={"classes": 1},
        )

    def forward(self, image: Tensor) -> Outputs:
        mask, label = self.network(image)
        return Outputs(mask[None], label[:, 0])


def network_of(folder: Path) -> SmpNetwork:
    """Return the network for the images of the folder's config."""
    return SmpNetwork(json.loads((folder / "config.json").read_text())["data_info"]["channels"])
