"""Images of a folder of `benchmarks.pretrained_split` for the rivals: read, sampled, batched.

Each image is stretched into a square once and kept as bytes, and so is the image itself: training
stretches it anew each time.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.rivals.torch_augmentation import changed, shrunk_mask


class Images(NamedTuple):
    """The images of one split."""

    pixels: np.ndarray  # uint8 [n side side]
    masks: np.ndarray  # uint8 [n side side], 1 = defective
    labels: np.ndarray  # float32 [n]
    native: list[tuple[np.ndarray, np.ndarray]]  # image and mask as they came, uint8 [h w]

    @property
    def native_px(self) -> list[tuple[int, int]]:
        """Return height and width of each."""
        return [mask.shape for _, mask in self.native]


def read_images(folder: Path, split: str, side_px: int, limit: int | None = None) -> Images:
    """Read the images of a split, in the order of the table; `limit` takes some of each label."""
    with open(folder / "pictures.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    if limit is not None:
        rows = [row for label in "01" for row in rows if row["label"] == label][
            :: len(rows) // limit
        ]
    pixels, masks, native = [], [], []
    for row in rows:
        image = cv2.imread(str(folder / "pictures" / f"{row['number']}.png"), cv2.IMREAD_GRAYSCALE)
        mask = cv2.imread(str(folder / "masks" / f"{row['number']}.png"), cv2.IMREAD_GRAYSCALE)
        native.append((image, mask))
        pixels.append(cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_AREA))
        masks.append(shrunk_mask(mask, (side_px, side_px)))
    labels = np.array([float(row["label"]) for row in rows], np.float32)
    return Images(np.stack(pixels), np.stack(masks), labels, native)


def balanced_rows(labels: np.ndarray, batch: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield rows of batches without end, half of them defective; each kind comes in rounds."""
    streams = [_rounds(np.flatnonzero(labels == label), rng) for label in (0, 1)]
    while True:
        halves = zip(streams, (batch - batch // 2, batch // 2), strict=True)
        yield np.array([next(stream) for stream, count in halves for _ in range(count)])


def _rounds(rows: np.ndarray, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(rows)


def training_batch(images: Images, rows: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
    """Return a batch of images that are changed at random.

    image: float32 [b h w 1] in shares of the range; mask and valid [b h w]; label [b].
    """
    side_px = images.pixels.shape[-1]
    framed = [changed(*images.native[row], side_px, rng) for row in rows]
    image, mask, valid = (torch.from_numpy(np.stack(each)) for each in zip(*framed, strict=True))
    return {
        "image": image[..., None],
        "mask": mask,
        "valid": valid,
        "label": torch.from_numpy(images.labels[rows]),
    }


def mirrored(pixels: Tensor) -> list[tuple[Tensor, tuple[int, ...]]]:
    """Return a batch [… h w] and its three mirror images, each with the axes that undo it."""
    every = ((), (-2,), (-1,), (-2, -1))
    return [(torch.flip(pixels, axes), axes) for axes in every]
