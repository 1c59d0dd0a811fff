"""A training step of `benchmarks.rivals.torch_network`, as `defect_jax.training.steps` has it.

Fixed weights of the losses, clipping, AdamW with decay of the kernels alone, warm-up and cosine,
averaged weights. Weights and losses are float32, and the network what `model.dtype` says: bfloat16
by autocast. It must be without dropout, whose draws would differ.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Batch = Mapping[str, Tensor]  # image [b h w c], mask [b h w], valid [b h w], label [b]
SMOOTH = 1.0  # of the Dice loss, px


class Losses(nn.Module):
    """From a batch of bytes to the loss of each task."""

    def __init__(self, network: nn.Module, config: Mapping[str, Any]):
        super().__init__()
        self.network, self.loss, self.image = network, config["loss"], config["data_info"]
        self.rounds = config["model"]["dtype"] == "bfloat16"

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the losses of segmentation and of classification, each shape=()."""
        # The same bytes seen channels first: they are as PyTorch's channels_last has them.
        image = batch["image"].permute(0, 3, 1, 2).float()
        if not batch["image"].is_floating_point():  # else already shares of the range
            low, high = self.image.get("low", 0), self.image.get("high", 255)
            image = (image - low) / (high - low)
        image = (image - self.image["mean"]) / self.image["std"]
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.rounds):
            outputs = self.network(image)
        logits = outputs.mask_logits.float()
        valid = batch["valid"].float()[None, :, None]
        mask = (batch["mask"] > 0).float()[None, :, None].expand_as(logits)
        entropy = functional.binary_cross_entropy_with_logits(logits, mask, valid, reduction="sum")
        entropy = entropy / (valid.sum() * logits.shape[0])
        segmentation = self.loss["bce_weight"] * entropy
        segmentation = segmentation + self.loss["dice_weight"] * _dice(logits, mask, valid)
        label = outputs.label_logits.float()
        label = functional.binary_cross_entropy_with_logits(label, batch["label"])
        return segmentation, label


def _dice(logits: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
    """Return the mean over the heads of the mean over the defective images."""
    score, mask = torch.sigmoid(logits) * valid, mask * valid
    pixels = (2, 3, 4)
    overlap, area = (score * mask).sum(pixels), mask.sum(pixels)
    losses = 1 - (2 * overlap + SMOOTH) / (score.sum(pixels) + area + SMOOTH)
    defective = area > 0
    return (losses * defective).sum() / defective.sum().clamp(min=1)


class Training:
    """The state of a run, and its step."""

    def __init__(self, network: nn.Module, config: Mapping[str, Any], compiled: bool):
        self.config, self.network = config, network.train()
        losses = Losses(network, config)
        self.losses = torch.compile(losses, dynamic=False) if compiled else losses
        self.optimizer = torch.optim.AdamW(list(groups_of(network, config)), eps=1e-8, fused=True)
        self.parameters = list(network.parameters())
        self.averaged = [
            *self.parameters,
            *(b for b in network.buffers() if b.dtype.is_floating_point),
        ]
        self.average = [each.detach().clone() for each in self.averaged]
        self.step = 0

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Take a step; return the losses before it, and the norm of the gradient."""
        optimizer, weights = self.config["optimizer"], self.config["balance"]["fixed"]["weights"]
        segmentation, label = self.losses(batch)
        total = weights["segmentation"] * segmentation + weights["classification"] * label
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, optimizer["clip_norm"])
        rate = learning_rate(self.step, optimizer, self.config["train"]["steps"])
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.optimizer.step()
        decay = min(optimizer["average_decay"], (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.averaged, 1 - decay)
        self.step += 1
        tasks = {"loss_segmentation": segmentation, "loss_classification": label}
        named = tasks | {"loss": total, "gradient_norm": norm}
        return {name: value.detach() for name, value in named.items()}


def groups_of(network: nn.Module, config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parameters that decay and those that do not, of the encoder and of the rest.

    An encoder that begins with weights learns at a share of the rate.
    """
    model, optimizer = config["model"], config["optimizer"]
    is_pretrained = model.get("encoder", "plain") != "plain" and model["weights"]
    names = {True: optimizer["encoder_rate"] if is_pretrained else 1.0, False: 1.0}
    for inside, share in names.items():
        chosen = [p for n, p in network.named_parameters() if n.startswith("encoder.") == inside]
        for decays in (True, False):
            yield {
                "params": [each for each in chosen if (each.ndim > 1) == decays],
                "weight_decay": optimizer["weight_decay"] if decays else 0.0,
                "share": share,
            }


def learning_rate(step: int, optimizer: Mapping[str, Any], steps: int) -> float:
    """Return linear warm-up from a hundredth of the peak, then a cosine back to it."""
    peak, warmup = optimizer["learning_rate"], min(optimizer["warmup_steps"], steps - 1)
    low = peak / 100
    if step < warmup:
        return low + (peak - low) * step / warmup
    turned = min(1.0, (step - warmup) / (steps - warmup))
    return low + (peak - low) * 0.5 * (1 + math.cos(math.pi * turned))
