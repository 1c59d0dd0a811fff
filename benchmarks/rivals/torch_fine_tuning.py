"""smp's U-Net++ (`Unet` after `--decoder`: its U-Net) on EfficientNet-Lite0, fine-tuned.

    rivals/bin/python -m benchmarks.rivals.torch_fine_tuning --data=… --weights=….pth --out=…

The recipe is that of configs/magnetic_tile.py:cpu: the encoder learns at a tenth of the rate and
keeps the statistics of its batch norms; cross-entropy and Dice for masks, which weigh 0.8, and
cross-entropy for smp's auxiliary head on the deepest features, 0.2; batches half defective, each
image changed at random as ours are; averaged weights; the probabilities of four mirror images
averaged. The decoder is half as wide as smp's default, as ours for the CPU: in the same seconds it
takes 1.6 times as many steps. There may be 600 where ours takes 450.
"""

import argparse

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from benchmarks.rivals import torch_answers
from benchmarks.rivals.torch_answers import Answer, Clock, mean_logit, write_all
from benchmarks.rivals.torch_budget import Budget
from benchmarks.rivals.torch_images import Images, balanced_rows, mirrored, training_batch
from benchmarks.rivals.torch_lite import (
    RANGE_MEAN,
    RANGE_STD,
    device_of,
    freeze_statistics,
    imagenet_encoder,
    load_encoder,
    normalised,
)
from benchmarks.rivals.torch_network import Outputs
from benchmarks.rivals.torch_training import Losses, learning_rate

SIDE_PX, BATCH, STEPS = 192, 16, 600
DECODER_CHANNELS = (128, 64, 32, 16, 8)
ENCODER_SHARE = 0.1  # of the learning rate
OPTIMIZER = {"learning_rate": 2e-3, "warmup_steps": 50}
WEIGHT_DECAY, CLIP_NORM, AVERAGE_DECAY = 1e-4, 1.0, 0.99
CONFIG = {
    "loss": {"bce_weight": 0.5, "dice_weight": 1.0},
    "data_info": {"mean": RANGE_MEAN, "std": RANGE_STD},
    "model": {"dtype": "float32"},
}
SEGMENTATION, CLASSIFICATION = 0.8, 0.2  # weights of the losses


class Network(nn.Module):
    """smp's network with its auxiliary head."""

    def __init__(self, decoder: str):
        super().__init__()
        self.network = getattr(smp, decoder)(
            "tu-tf_efficientnet_lite0",
            encoder_weights=None,
            in_channels=1,
            decoder_channels=DECODER_CHANNELS,
            aux_params={"classes": 1, "dropout": 0.2},
        )

    @property
    def encoder(self) -> nn.Module:
        """Return timm's network."""
        return self.network.encoder.model

    def forward(self, image: Tensor) -> Outputs:
        """Return logits of normalised images [b 1 h w]."""
        mask, label = self.network(image)
        return Outputs(mask[None], label[:, 0])

    def train(self, mode: bool = True) -> "Network":
        """Switch to training, the encoder's statistics apart."""
        super().train(mode)
        freeze_statistics(self.encoder)
        return self


class FineTuning:
    """The state of a run, and its step."""

    def __init__(self, network: Network):
        self.network, self.losses = network.train(), Losses(network, CONFIG)
        self.optimizer = torch.optim.AdamW(list(_groups(network)), fused=True)
        self.averaged = [p for p in network.parameters() if p.requires_grad]
        self.averaged += [b for b in network.buffers() if b.dtype.is_floating_point]
        self.average = [each.detach().clone() for each in self.averaged]
        self.step = 0

    def __call__(self, batch: dict[str, Tensor], steps: int) -> float:
        """Take a step of so many; return the loss before it."""
        segmentation, label = self.losses(batch)
        total = SEGMENTATION * segmentation + CLASSIFICATION * label
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)
        rate = learning_rate(self.step, OPTIMIZER, steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.optimizer.step()
        decay = min(AVERAGE_DECAY, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.averaged, 1 - decay)
        self.step += 1
        return float(total.detach())

    @torch.no_grad()
    def use_average(self) -> None:
        """Overwrite the weights by their average, for evaluation."""
        torch._foreach_copy_(self.averaged, self.average)
        self.network.eval()


def _groups(network: Network):
    encoder = {id(each) for each in network.encoder.parameters()}
    for inside in (True, False):
        chosen = [p for p in network.parameters() if (id(p) in encoder) == inside]
        share = ENCODER_SHARE if inside else 1.0
        for kernels, decay in ((True, WEIGHT_DECAY), (False, 0.0)):
            params = [each for each in chosen if (each.ndim > 1) == kernels]
            yield {"params": params, "weight_decay": decay, "share": share}


def trained(given: argparse.Namespace, decoder: str, images: Images) -> tuple[Network, Budget]:
    """Train within the seconds that are given; return the averaged network."""
    network = Network(decoder)
    load_encoder(network.encoder, imagenet_encoder(given.weights))
    training = FineTuning(network.to(given.device, memory_format=torch.channels_last))
    rng = np.random.default_rng(given.seed)
    rows = balanced_rows(images.labels, BATCH, rng)
    budget = Budget(given.steps or STEPS, given.seconds)
    while not budget.done:
        batch = training_batch(images, next(rows), rng)
        batch = {name: plane.to(given.device) for name, plane in batch.items()}
        budget.step_done(training(batch, budget.steps))
    training.use_average()
    return network, budget


@torch.no_grad()
def answer(network: Network, pixels: np.ndarray) -> Answer:
    """Return logits of the mean probabilities of four mirror images [b h w]."""
    labels, maps = [], []
    shown = torch.from_numpy(pixels).to(device_of(network))
    for image, axes in mirrored(normalised(shown)[:, None]):
        outputs = network(image.contiguous(memory_format=torch.channels_last))
        labels.append(torch.sigmoid(outputs.label_logits.double()).cpu().numpy())
        maps.append(torch.sigmoid(torch.flip(outputs.mask_logits[0, :, 0], axes)).cpu().numpy())
    return mean_logit(labels), mean_logit(maps)


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--decoder", default="UnetPlusPlus", choices=("UnetPlusPlus", "Unet"))
    decoder = parser.parse_known_args()[0].decoder
    given = torch_answers.arguments(__doc__)
    clock = Clock(given.device)
    train, val, test = torch_answers.splits(given, SIDE_PX, ("train", "val", "test"))
    clock.lap("reading")
    network, budget = trained(given, decoder, train)
    clock.lap("training")
    images = {"val": val, "test": test}
    write_all(given, clock, images, lambda p: answer(network, p), **budget.facts())


if __name__ == "__main__":
    main()
