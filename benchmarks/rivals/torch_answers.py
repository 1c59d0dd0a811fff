"""What a rival hands back: its answer to each image of val and test, and the seconds it took.

OUT/val.npz, OUT/test.npz: `score` float32 [n], logit of the label; `map_0` … float16 [h w], logits
of each image's pixels at its native size. OUT/run.json: seconds, steps, device, versions. Logits,
because half a float near a probability of 1 tells no two pixels apart.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.rivals.torch_images import Images, read_images

LARGEST = 30.0  # of a logit: float16 stays fine, and beyond 17 a float32 probability is 1
Answer = tuple[np.ndarray, np.ndarray]  # logits of the labels [b] and of the maps [b h w]
BATCH = 16


class Clock:
    """Seconds of a run by phase."""

    def __init__(self, device: torch.device):
        self.device = device
        self.began, self.seconds = time.perf_counter(), {}

    def lap(self, name: str) -> None:
        """Note what has passed since the lap before under this name."""
        if self.device.type == "cuda":  # what is still at work there belongs to this lap
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[f"{name}_seconds"] = round(now - self.began, 3)
        self.began = now


def write_answers(
    out: Path, split: str, images: Images, answer: Callable[[np.ndarray], Answer]
) -> float:
    """Ask for every image in batches and write them at native size; return seconds an image.

    Args:
        answer: takes pixels uint8 [b h w].
    """
    began, scores, maps = time.perf_counter(), [], {}
    for first in range(0, len(images.labels), BATCH):
        labels, logits = answer(images.pixels[first : first + BATCH])
        for label, logit in zip(labels, logits, strict=True):
            height, width = images.native_px[len(scores)]
            whole = cv2.resize(logit, (width, height), interpolation=cv2.INTER_LINEAR)
            maps[f"map_{len(scores)}"] = whole.clip(-LARGEST, LARGEST).astype(np.float16)
            scores.append(label)
    seconds = time.perf_counter() - began
    np.savez(out / f"{split}.npz", score=np.array(scores, np.float32), **maps)
    return seconds / len(scores)


def write_all(
    given: argparse.Namespace,
    clock: Clock,
    images: Mapping[str, Images],
    answer: Callable[[np.ndarray], Answer],
    **facts: Any,
) -> None:
    """Write the answers to each split, then run.json, which marks the end."""
    for split, each in images.items():
        per_image = write_answers(given.out, split, each, answer)
    clock.lap("answers")
    name = torch.cuda.get_device_name(given.device) if given.device.type == "cuda" else "cpu"
    run = {
        **{"seed": given.seed, "threads": given.threads, "budget_seconds": given.seconds},
        **{"device": str(given.device), "device_name": name},
        **clock.seconds,
        **facts,
        "seconds_per_picture": round(per_image, 5),
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__},
    }
    (given.out / "run.json").write_text(json.dumps(run, indent=1) + "\n")


def arguments(description: str) -> argparse.Namespace:
    """Return what every rival is given; sets threads, seeds and the arithmetic of a GPU."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    for name in ("data", "weights", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="any that PyTorch knows, as cuda")
    parser.add_argument("--seconds", type=float, default=480, help="of training, at most")
    parser.add_argument("--steps", type=int, default=None, help="at most; default: the recipe's")
    parser.add_argument("--limit", type=int, default=None, help="images of a split, to try it")
    given, _ = parser.parse_known_args()
    given.device = torch.device(given.device)
    if given.device.type == "cuda":  # float32 as on a CPU, not rounded to TF32
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    torch.manual_seed(given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    return given


def splits(given: argparse.Namespace, side_px: int, names: Iterable[str]) -> list[Images]:
    """Read the splits that are named."""
    return [read_images(given.data, name, side_px, given.limit) for name in names]


def mean_logit(probabilities: list[np.ndarray]) -> np.ndarray:
    """Return the logit of the mean of several probabilities, in float64: none is lost near 1."""
    mean = np.mean(np.stack(probabilities).astype(np.float64), 0).clip(1e-13, 1 - 1e-13)
    return (np.log(mean) - np.log1p(-mean)).astype(np.float32)
