"""A PyTorch network from bytes to decisions, as `defect_jax.deploy.program` has it.

Without the size rule: images must have the size that the network was trained for, where it moves
nothing.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.rivals.torch_network import SegmentationNetwork

NEAREST = 2.0**-24  # to 0 and to 1, as in defect_jax.metrics.calibration


class Deployed(nn.Module):
    """Normalisation, network, the heads' mean, temperature, thresholds and smallest area.

    Attributes:
        network: PyTorch's.
        rule: fields of `defect_jax.decision.DecisionRule`.
        image: `data_info` of the config: range, mean and deviation of the training images.
    """

    def __init__(
        self, network: SegmentationNetwork, rule: Mapping[str, Any], image: Mapping[str, Any]
    ):
        super().__init__()
        self.network, self.rule = network, dict(rule)
        self.mean, self.std = image["mean"], image["std"]
        self.low, self.high = image.get("low", 0), image.get("high", 255)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Decide on images, uint8 [b h w c]; return what `defect_jax.deploy.program` does."""
        rule = self.rule
        # The same bytes seen channels first: they are as PyTorch's channels_last has them.
        pixels = (image.permute(0, 3, 1, 2).float() - self.low) / (self.high - self.low)
        outputs = self.network((pixels - self.mean) / self.std)
        probability = torch.sigmoid(outputs.mask_logits).mean(0)[:, 0]
        mask_score = probability.amax((1, 2))
        marked = probability >= rule["pixel_threshold"]
        large = marked.sum((1, 2)) >= rule["min_area_px"]
        mask_rejected = (mask_score >= rule["mask_threshold"]) & large
        mask = (marked & mask_rejected[:, None, None]).to(torch.uint8)
        label = outputs.label_logits
        score = mask_score if label is None else torch.sigmoid(label)
        kept = score.clamp(NEAREST, 1 - NEAREST)
        calibrated = torch.sigmoid((torch.log(kept) - torch.log1p(-kept)) / rule["temperature"])
        rejected = score >= rule["threshold"]
        return calibrated, rejected, mask, score, mask_score, mask_rejected
