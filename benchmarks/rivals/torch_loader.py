"""The training images of a folder by PyTorch's DataLoader, with the changes of `defect_jax.data`.

The same operations in the same order, drawn from the same distributions, each by the quickest plain
call of OpenCV: placed smaller or stretched with a mirrored border, flips, shift, tones by table,
blur of half of the images, Gaussian noise. Batches are bytes, as ours.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info


class Surfaces(Dataset):
    """Images of images/ with the masks of the same name in masks/, changed at random."""

    def __init__(self, folder: Path, data: Mapping[str, Any]):
        self.paths = sorted(str(path) for path in (folder / "images").iterdir())
        self.data, self.size = data, tuple(data["size"])
        self.random = np.random.default_rng(0)  # of this process; each worker gets its own

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        path, random = self.paths[row], self.random
        image = _decoded(path)
        mask = np.minimum(_decoded(path.replace("/images/", "/masks/")), 1)
        changes = self.data["augment"]["changes"]
        image, mask, valid = _placed(image, mask, self.size, self.data["augment"], random)
        planes = _flipped([image, mask, valid], changes, random)
        image, mask, valid = _shifted(*planes, changes["shift_px"], random)
        image = _toned(image, changes, random)
        image = _noisy(_blurred(image, changes["blur_px"], random), changes["noise"], random)
        label = torch.tensor(float(mask.any()))
        image, mask, valid = (torch.from_numpy(plane) for plane in (image, mask, valid))
        return {"image": image[..., None], "mask": mask, "valid": valid, "label": label}


def loader(folder: Path, data: Mapping[str, Any], batch_size: int, workers: int) -> DataLoader:
    """Return all images once an epoch, in a new order each time."""
    beside = {"persistent_workers": True, "prefetch_factor": 4} if workers else {}
    return DataLoader(
        Surfaces(folder, data),
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        worker_init_fn=_begin_worker,
        **beside,
    )


def _begin_worker(number: int) -> None:
    """Give a worker one thread, and draws of its own."""
    cv2.setNumThreads(1)
    cv2.setRNGSeed(number)
    get_worker_info().dataset.random = np.random.default_rng(get_worker_info().seed)


def _decoded(path: str) -> np.ndarray:
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)


def _placed(
    image: np.ndarray,
    mask: np.ndarray,
    size: tuple[int, int],
    augment: Mapping[str, Any],
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place an image a little smaller, a little stretched, anywhere in the frame."""
    scale = 1 - random.uniform(0, augment["shrink"])
    factor = np.exp(random.uniform(-augment["stretch"], augment["stretch"]) / 2)
    height = int(np.clip(round(image.shape[0] * scale * factor), 1, size[0]))
    width = int(np.clip(round(image.shape[1] * scale / factor), 1, size[1]))
    top = int(random.integers(size[0] - height + 1))
    left = int(random.integers(size[1] - width + 1))
    sides = top, size[0] - top - height, left, size[1] - left - width
    image = cv2.copyMakeBorder(_resized(image, height, width), *sides, cv2.BORDER_REFLECT)
    seen = np.zeros((height, width), np.uint8)
    if mask.any():
        share = _resized(mask.astype(np.float32), height, width)
        most = cv2.dilate(share, np.ones((3, 3), np.uint8))
        seen = ((share >= 0.5 * most) & (share > 0)).astype(np.uint8)
    valid = np.zeros(size, bool)
    valid[top : top + height, left : left + width] = True
    return image, cv2.copyMakeBorder(seen, *sides, cv2.BORDER_CONSTANT), valid


def _resized(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize by area where it shrinks, bilinear where it grows."""
    smaller = min(plane.shape[0], height), min(plane.shape[1], width)
    if smaller != plane.shape:
        plane = cv2.resize(plane, smaller[::-1], interpolation=cv2.INTER_AREA)
    if smaller != (height, width):
        plane = cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)
    return plane


def _flipped(
    planes: list[np.ndarray], changes: Mapping[str, Any], random: np.random.Generator
) -> list[np.ndarray]:
    for name, code in (("flip_horizontal", 1), ("flip_vertical", 0)):
        if changes[name] and random.random() < 0.5:
            planes = [cv2.flip(plane, code) for plane in planes]
    return planes


def _shifted(
    image: np.ndarray, mask: np.ndarray, valid: np.ndarray, most: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shift by whole px, never a defect out of the frame."""
    down, right = map(int, random.integers(-most, most + 1, 2))
    height, width = mask.shape
    left, top, columns, rows = cv2.boundingRect(mask)
    if rows:
        down = min(max(down, -top), height - top - rows)
        right = min(max(right, -left), width - left - columns)
    above, below, before, behind = max(down, 0), max(-down, 0), max(right, 0), max(-right, 0)
    inside = np.s_[below : height - above, behind : width - before]
    sides = above, below, before, behind
    image = cv2.copyMakeBorder(image[inside], *sides, cv2.BORDER_REPLICATE)
    mask = cv2.copyMakeBorder(mask[inside], *sides, cv2.BORDER_CONSTANT)
    return image, mask, cv2.copyMakeBorder(valid[inside], *sides, cv2.BORDER_CONSTANT)


def _toned(
    image: np.ndarray, changes: Mapping[str, Any], random: np.random.Generator
) -> np.ndarray:
    """Change brightness, contrast and gamma, by one table."""
    offset = random.uniform(-changes["brightness"], changes["brightness"])
    gain = 1 + random.uniform(-changes["contrast"], changes["contrast"])
    exponent = np.exp(random.uniform(-changes["gamma"], changes["gamma"]))
    values = (np.linspace(0, 1, 256) ** exponent - 0.5) * gain + 0.5 + offset
    return cv2.LUT(image, np.rint(values.clip(0, 1) * 255).astype(np.uint8))


def _blurred(image: np.ndarray, most: float, random: np.random.Generator) -> np.ndarray:
    sigma = random.uniform(0, 2 * most) - most
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0.1 else image


def _noisy(image: np.ndarray, most: float, random: np.random.Generator) -> np.ndarray:
    noise = cv2.randn(np.empty(image.shape, np.float32), 0, 255 * random.uniform(0, most))
    return cv2.add(image, noise, dtype=cv2.CV_8U)
