"""PatchCore (Roth et al. 2022, arXiv 2106.08265) on EfficientNet-Lite0: no defect is ever seen.

    rivals/bin/python -m benchmarks.rivals.torch_patchcore --data=… --weights=….pth --out=…

Patches of good training images are described by the rows at 1/8 and 1/16, averaged over 3x3
neighbours. A twentieth of them, chosen greedily to be far apart (on a random projection), is kept.
A patch scores its distance to the nearest that is kept; the image its highest one, weighed as in
equation 7. The map is enlarged and blurred with a deviation of 4 px. Distances d become logits
log(d): any rule of thresholds or ranks sees their order alone.
"""

import time

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.rivals import torch_answers
from benchmarks.rivals.torch_answers import Answer, Clock, write_answers
from benchmarks.rivals.torch_images import Images
from benchmarks.rivals.torch_lite import FrozenRows, imagenet_encoder

SIDE_PX = 256
SHARE = 0.05  # of the patches that are kept
PROJECTED = 32  # dimensions in which the greedy choice measures
NEIGHBOURS = 9  # of equation 7
BLUR_PX = 4.0
BATCH = 16
SMALLEST = 1e-6  # distance: its logarithm stays finite


def described(rows: FrozenRows, pixels: Tensor) -> Tensor:
    """Return [b h w 152] of pixels [b 8h 8w]."""
    eighth, sixteenth = (
        functional.avg_pool2d(row, 3, 1, 1, count_include_pad=False) for row in rows(pixels)
    )
    size = eighth.shape[2:]
    coarse = functional.interpolate(sixteenth, size=size, mode="bilinear", align_corners=False)
    return torch.cat([eighth, coarse], 1).permute(0, 2, 3, 1)


def patches_of(rows: FrozenRows, images: Images) -> Tensor:
    """Return the patches [n 152] of all good images."""
    good = images.pixels[images.labels == 0]
    batches = (good[first : first + BATCH] for first in range(0, len(good), BATCH))
    found = [described(rows, torch.from_numpy(batch)) for batch in batches]
    return torch.cat(found).reshape(-1, FrozenRows.CHANNELS).contiguous()


def far_apart(patches: Tensor, count: int, seconds: float, generator: torch.Generator) -> Tensor:
    """Return rows of patches, each the farthest from those before; fewer if the seconds run out."""
    shape = patches.shape[1], PROJECTED
    points = patches @ (torch.randn(shape, generator=generator) / PROJECTED**0.5)
    squares, began = points.square().sum(1), time.perf_counter()
    nearest = torch.full((len(points),), torch.inf)
    row = int(torch.randint(len(points), (1,), generator=generator))
    chosen = []
    while len(chosen) < count and time.perf_counter() - began < seconds:
        chosen.append(row)
        distance = torch.addmv(squares, points, points[row], alpha=-2).add_(squares[row])
        torch.minimum(nearest, distance, out=nearest)
        row = int(nearest.argmax())
    return torch.tensor(chosen)


class Memory:
    """Patches that are kept, and the distances to them."""

    def __init__(self, kept: Tensor):
        self.kept, self.squares = kept, kept.square().sum(1)

    def squared(self, patches: Tensor) -> Tensor:
        """Return squared distances [n kept]."""
        product = torch.addmm(self.squares[None], patches, self.kept.T, alpha=-2)
        return product.add_(patches.square().sum(1, keepdim=True)).clamp_(min=0)

    def score(self, patches: Tensor) -> tuple[float, Tensor]:
        """Return the score of an image, and the distance of each of its patches [n 152]."""
        nearest, place = self.squared(patches).min(1)
        distance = nearest.sqrt()
        worst = int(distance.argmax())
        around = self.squared(self.kept[place[worst]][None])[0].topk(NEIGHBOURS, largest=False)
        to_them = (self.kept[around.indices] - patches[worst]).norm(dim=1)
        # The nearest kept patch is its own nearest neighbour, and so the first of them.
        weight = 1 - torch.softmax(to_them, 0)[0]
        return float(weight * distance[worst]), distance


@torch.no_grad()
def answer(rows: FrozenRows, memory: Memory, pixels: np.ndarray) -> Answer:
    """Return logarithms of the images' scores [b] and of the smoothed distances [b h w]."""
    scores, maps = [], []
    for patches in described(rows, torch.from_numpy(pixels)):
        height, width, channels = patches.shape
        score, distance = memory.score(patches.reshape(-1, channels))
        coarse = distance.reshape(height, width).numpy()
        whole = cv2.resize(coarse, pixels.shape[:0:-1], interpolation=cv2.INTER_LINEAR)
        scores.append(score)
        maps.append(cv2.GaussianBlur(whole, (0, 0), BLUR_PX, borderType=cv2.BORDER_REFLECT))
    return np.log(np.maximum(scores, SMALLEST)), np.log(np.maximum(maps, SMALLEST))


def main() -> None:
    given, clock = torch_answers.arguments(__doc__), Clock()
    train, val, test = torch_answers.splits(given, SIDE_PX, ("train", "val", "test"))
    clock.lap("reading")
    rows = FrozenRows(imagenet_encoder(given.weights))
    patches = patches_of(rows, train)
    clock.lap("features")
    generator = torch.Generator().manual_seed(given.seed)
    count = given.steps or int(SHARE * len(patches))
    left = given.seconds - clock.seconds["features_seconds"]
    chosen = far_apart(patches, max(NEIGHBOURS, count), left, generator)
    memory = Memory(patches[chosen].contiguous())
    clock.lap("choice")
    for split, images in (("val", val), ("test", test)):
        per_image = write_answers(given.out, split, images, lambda p: answer(rows, memory, p))
    clock.lap("answers")
    trained = clock.seconds["features_seconds"] + clock.seconds["choice_seconds"]
    torch_answers.write_run(
        given.out,
        given,
        **clock.seconds,
        training_seconds=round(trained, 3),
        patches=len(patches),
        steps_taken=len(chosen),
        seconds_per_step=round(clock.seconds["choice_seconds"] / len(chosen), 6),
        seconds_per_picture=round(per_image, 5),
    )


if __name__ == "__main__":
    main()
