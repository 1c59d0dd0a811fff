"""SuperSimpleNet (Rolih et al. 2024, arXiv 2408.03143), supervised, on EfficientNet-Lite0.

    rivals/bin/python -m benchmarks.rivals.torch_supersimplenet --data=… --weights=….pth --out=…

Our reading of the paper: rows at 1/8 and 1/16 of a frozen encoder, enlarged to 1/4, averaged over
3x3 neighbours, adapted by a linear layer. A batch of features is taken twice, each with Gaussian
noise of its own where thresholded Perlin noise says so and nothing is defective yet: what is
changed counts as defective. A head of two linear layers marks positions; another, of one 5x5
convolution on features and map and of mean and maximum, decides on the image. Truncated L1 and
focal loss for the map, focal loss for the image. Half of each batch is defective, in four mirror
images.

Changed for this encoder and these minutes: features are standardised, for the noise to mean
something (Lite0's rows are not between 0 and 1); heads are narrower, as the features are (152
channels in place of 1536); the learning rate is five times the paper's, which has 60 times the
steps. As nothing in front of the noise is learnt, features of all images are computed once.
"""

import argparse
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.rivals import torch_answers
from benchmarks.rivals.torch_answers import Answer, Clock, write_all
from benchmarks.rivals.torch_augmentation import shrunk_mask
from benchmarks.rivals.torch_budget import Budget
from benchmarks.rivals.torch_images import Images, balanced_rows, mirrored
from benchmarks.rivals.torch_lite import FrozenRows, device_of, imagenet_encoder
from benchmarks.rivals.torch_noise_masks import noise_masks

SIDE_PX, BATCH, STEPS = 192, 16, 1200
MAP_PX = SIDE_PX // 4
HIDDEN, DECISION_CHANNELS = 256, 32
NOISE = 0.1  # deviation, of standardised features
TRUNCATION, FOCAL_POWER = 0.5, 4
HEAD_RATE, ADAPTOR_RATE, WEIGHT_DECAY, CLIP_NORM = 1e-3, 5e-4, 1e-5, 1.0
MILESTONES, RATE_FACTOR = (0.8, 0.9), 0.4
BLUR_PX = 4.0
MIRRORS = 4
SMALLEST = 1e-6  # deviation of a channel


class Features(NamedTuple):
    """What is kept of the training images; a defective one is there in four mirror images."""

    eighth: Tensor  # float16 [n 40 24 24]
    sixteenth: Tensor  # float16 [n 112 12 12]
    masks: Tensor  # float32 [n 48 48]
    first: np.ndarray  # of each training image, its place among the n
    mean: Tensor  # [1 152 1 1], of a channel
    std: Tensor


class Network(nn.Module):
    """Adaptor and both heads."""

    def __init__(self, mean: Tensor, std: Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        channels = FrozenRows.CHANNELS
        self.adaptor = nn.Conv2d(channels, channels, 1)
        self.marks = nn.Sequential(
            nn.Conv2d(channels, HIDDEN, 1),
            nn.BatchNorm2d(HIDDEN),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(HIDDEN, 1, 1, bias=False),
        )
        self.looks = nn.Sequential(
            nn.Conv2d(channels + 1, DECISION_CHANNELS, 5, padding=2),
            nn.BatchNorm2d(DECISION_CHANNELS),
            nn.ReLU(inplace=True),
        )
        self.decides = nn.Linear(2 * DECISION_CHANNELS + 2, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_normal_(module.weight)

    def adapted(self, eighth: Tensor, sixteenth: Tensor) -> Tensor:
        """Return features [b 152 48 48] of both rows."""
        rows = [
            functional.interpolate(row, size=(MAP_PX, MAP_PX), mode="bilinear", align_corners=True)
            for row in (eighth, sixteenth)
        ]
        features = (torch.cat(rows, 1) - self.mean) / self.std
        return self.adaptor(functional.avg_pool2d(features, 3, 1, 1))

    def forward(self, adapted: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of positions [b 1 48 48] and of images [b]."""
        marked = self.marks(adapted)
        looked = self.looks(torch.cat([adapted, marked], 1))
        pooled = [each for x in (looked, marked) for each in (x.amax((2, 3)), x.mean((2, 3)))]
        return marked, self.decides(torch.cat(pooled, 1))[:, 0]


def focal(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the mean focal loss."""
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return (entropy * (1 - torch.exp(-entropy)) ** FOCAL_POWER).mean()


def truncated(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the mean distance of good and of defective positions to their side, added."""
    wrong = functional.relu(TRUNCATION - logits * (2 * truth - 1))
    kinds = (truth, 1 - truth)
    return sum((wrong * kind).sum() / kind.sum().clamp(min=1) for kind in kinds)


def features_of(rows: FrozenRows, images: Images) -> Features:
    """Compute the features of all images once, and the mean and deviation of each channel."""
    pixels, masks, first = [], [], []
    for image, mask, label in zip(images.pixels, images.masks, images.labels, strict=True):
        first.append(len(pixels))
        small = torch.from_numpy(shrunk_mask(mask, (MAP_PX, MAP_PX)))
        # As in the paper, defective images alone come mirrored.
        count = MIRRORS if label else 1
        pixels += [each for each, _ in mirrored(torch.from_numpy(image))[:count]]
        masks += [each for each, _ in mirrored(small)[:count]]
    batches = [torch.stack(pixels[at : at + BATCH]) for at in range(0, len(pixels), BATCH)]
    device = device_of(rows)
    found = [[row.half() for row in rows(batch.to(device))] for batch in batches]
    eighth, sixteenth = (torch.cat(each) for each in zip(*found, strict=True))
    flat = [row.float().transpose(0, 1).flatten(1) for row in (eighth, sixteenth)]
    mean = torch.cat([each.mean(1) for each in flat])[None, :, None, None]
    std = torch.cat([each.std(1) for each in flat])[None, :, None, None].clamp(min=SMALLEST)
    whole = torch.stack(masks).to(device).float()
    return Features(eighth, sixteenth, whole, np.array(first), mean, std)


def loss_of(
    network: Network,
    features: Features,
    labels: np.ndarray,
    rows: np.ndarray,
    rng: np.random.Generator,
) -> Tensor:
    """Return the loss of a batch and its noisy twins."""
    device = device_of(network)
    mirror = np.where(labels[rows] > 0, rng.integers(0, MIRRORS, len(rows)), 0)
    at = torch.from_numpy(features.first[rows] + mirror).to(device)
    adapted = network.adapted(features.eighth[at].float(), features.sixteenth[at].float())
    adapted, mask = adapted.repeat(2, 1, 1, 1), features.masks[at][:, None].repeat(2, 1, 1, 1)
    noisy = torch.from_numpy(noise_masks(len(mask), MAP_PX, rng)).to(device)
    noisy = noisy[:, None].float() * (1 - mask)
    mask = mask + noisy
    label = torch.from_numpy(labels[rows]).to(device).repeat(2)
    label = torch.maximum(label, mask.amax((1, 2, 3)))
    marked, decided = network(adapted + NOISE * torch.randn_like(adapted) * noisy)
    return truncated(marked, mask) + focal(marked, mask) + focal(decided, label)


def optimizer_of(network: Network) -> torch.optim.Optimizer:
    """Return AdamW with the rates of adaptor and heads."""
    adaptor = {"params": list(network.adaptor.parameters()), "peak": ADAPTOR_RATE}
    heads = (network.marks, network.looks, network.decides)
    others = {"params": [p for head in heads for p in head.parameters()], "peak": HEAD_RATE}
    return torch.optim.AdamW([adaptor, others], weight_decay=WEIGHT_DECAY, fused=True)


def trained(
    given: argparse.Namespace, images: Images, features: Features, seconds: float
) -> tuple[Network, Budget]:
    """Train adaptor and heads within the seconds."""
    network = Network(features.mean, features.std)
    network.to(given.device, memory_format=torch.channels_last).train()
    optimizer, rng = optimizer_of(network), np.random.default_rng(given.seed)
    budget = Budget(given.steps or STEPS, seconds)
    for rows in balanced_rows(images.labels, BATCH, rng):
        if budget.done:
            break
        passed = sum(len(budget.losses) >= share * budget.steps for share in MILESTONES)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * RATE_FACTOR**passed
        loss = loss_of(network, features, images.labels, rows, rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        optimizer.step()
        budget.step_done(float(loss.detach()))
    return network.eval(), budget


@torch.no_grad()
def answer(rows: FrozenRows, network: Network, pixels: np.ndarray) -> Answer:
    """Return logits of images [b] and of blurred maps [b h w], means of four mirror images."""
    labels, maps = [], []
    for image, axes in mirrored(torch.from_numpy(pixels).to(device_of(rows))):
        marked, decided = network(network.adapted(*rows(image.contiguous())))
        labels.append(decided)
        maps.append(torch.flip(marked[:, 0], axes))
    size = pixels.shape[:0:-1]
    whole = [cv2.resize(coarse, size) for coarse in torch.stack(maps).mean(0).cpu().numpy()]
    blurred = [cv2.GaussianBlur(m, (0, 0), BLUR_PX, borderType=cv2.BORDER_REFLECT) for m in whole]
    return torch.stack(labels).mean(0).cpu().numpy(), np.stack(blurred)


def main() -> None:
    given = torch_answers.arguments(__doc__)
    clock = Clock(given.device)
    train, val, test = torch_answers.splits(given, SIDE_PX, ("train", "val", "test"))
    clock.lap("reading")
    rows = FrozenRows(imagenet_encoder(given.weights)).to(given.device)
    features = features_of(rows, train)
    clock.lap("features")
    left = given.seconds - clock.seconds["features_seconds"]
    network, budget = trained(given, train, features, left)
    clock.lap("heads")
    seconds = clock.seconds["features_seconds"] + clock.seconds["heads_seconds"]
    facts = budget.facts() | {"training_seconds": round(seconds, 3)}
    images = {"val": val, "test": test}
    write_all(given, clock, images, lambda p: answer(rows, network, p), **facts)


if __name__ == "__main__":
    main()
