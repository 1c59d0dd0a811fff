"""Images of a folder of `benchmarks.pretrained_split` for the rivals: read, sampled, changed.

Each image is stretched into a square once and kept as bytes.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

BRIGHTNESS, CONTRAST = 0.02, 0.05  # mild, as in configs/magnetic_tile.py:cpu
HALF = 0.5 - 1e-5


class Images(NamedTuple):
    """The images of one split."""

    pixels: np.ndarray  # uint8 [n side side]
    masks: np.ndarray  # uint8 [n side side], 1 = defective
    labels: np.ndarray  # float32 [n]
    native_px: list[tuple[int, int]]  # height and width


def read_images(folder: Path, split: str, side_px: int, limit: int | None = None) -> Images:
    """Read the images of a split, in the order of the table; `limit` takes some of each label."""
    with open(folder / "pictures.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    if limit is not None:
        rows = [row for label in "01" for row in rows if row["label"] == label][
            :: len(rows) // limit
        ]
    pixels, masks, native_px = [], [], []
    for row in rows:
        image = cv2.imread(str(folder / "pictures" / f"{row['number']}.png"), cv2.IMREAD_GRAYSCALE)
        mask = cv2.imread(str(folder / "masks" / f"{row['number']}.png"), cv2.IMREAD_GRAYSCALE)
        native_px.append(image.shape)
        pixels.append(cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_AREA))
        masks.append(shrunk_mask(mask, side_px))
    labels = np.array([float(row["label"]) for row in rows], np.float32)
    return Images(np.stack(pixels), np.stack(masks), labels, native_px)


def shrunk_mask(mask: np.ndarray, side_px: int) -> np.ndarray:
    """Scale a mask so that thin defects stay, as `letterbox.letterbox_mask` does."""
    covered = (mask > 0).astype(np.float32)
    share = cv2.resize(covered, (side_px, side_px), interpolation=cv2.INTER_AREA)
    around = cv2.dilate(share, np.ones((3, 3), np.uint8))
    return ((share > 0) & (share > HALF * around)).astype(np.uint8)


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
    """Return a batch with flips and mild changes of brightness and contrast.

    image: float32 [b h w 1] in shares of the range; mask and valid [b h w]; label [b].
    """
    pixels = images.pixels[rows].astype(np.float32)
    masks = images.masks[rows]
    for k in range(len(rows)):
        for axis in (0, 1):
            if rng.random() < 0.5:
                pixels[k], masks[k] = np.flip(pixels[k], axis), np.flip(masks[k], axis)
    contrast = 1 + rng.uniform(-CONTRAST, CONTRAST, (len(rows), 1, 1))
    shift = 255 * rng.uniform(-BRIGHTNESS, BRIGHTNESS, (len(rows), 1, 1))
    middle = pixels.mean((1, 2), keepdims=True)
    pixels = ((pixels - middle) * contrast + middle + shift).clip(0, 255).astype(np.float32)
    return {
        "image": torch.from_numpy(pixels[..., None] / 255),
        "mask": torch.from_numpy(masks),
        "valid": torch.ones(masks.shape, dtype=torch.bool),
        "label": torch.from_numpy(images.labels[rows]),
    }


def mirrored(pixels: Tensor) -> list[tuple[Tensor, tuple[int, ...]]]:
    """Return a batch [… h w] and its three mirror images, each with the axes that undo it."""
    every = ((), (-2,), (-1,), (-2, -1))
    return [(torch.flip(pixels, axes), axes) for axes in every]
