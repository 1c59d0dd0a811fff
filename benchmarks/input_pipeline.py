"""Training images a second, beside PyTorch's DataLoader with the same operations.

    launch/module.sh benchmarks.input_pipeline --rival-python=rivals/bin/python

with the rivals' environment of `benchmarks.predict` and opencv-python-headless. Grey PNG of 512x512
px with their masks, generated; decoded, placed, changed at random and batched: ours in float32, by
`data.pipeline.batches` at its defaults and onto the device, the rival's as bytes, by
benchmarks/rivals. That both change the images alike is checked by the mean of six figures over an
epoch.

In each round every contender is a new process. All take their first epoch in turn, then all their
second, and so on; one that waits is idle. Ours begins each epoch with empty buffers, which a run
does not. Ratios are of the same round, over the rival with the best number of workers. The last
line is all of it as JSON.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks.input_contenders import BATCH, CONTENDERS, DATA, OURS, RAW, config_of
from benchmarks.machine import joined, machine
from benchmarks.turns import Failed, Program
from defect_jax.configs.base import base
from defect_jax.data.prepare.prepare import prepare

MOST_DIFFERENCE = 0.2  # of a figure of the changed images, as a share of it: few are defective
FIGURES = ("first epoch with start", "first epoch, flowing", "later epochs, flowing")
Turn = Mapping[str, Sequence[Mapping[str, float]]]  # of a round: name -> its epochs


def write(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write what all contenders read: images, how they are changed, and ours prepared."""
    write_images(folder / RAW, count // BATCH * BATCH, size)
    data = {"size": size, "augment": base().data.augment.to_dict()}
    (folder / DATA).write_text(json.dumps(data))
    prepare(config_of(folder).data)


def write_images(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write cloudy surfaces with grain, every fourth with a bright stroke; a few to validate and
    test."""
    random = np.random.default_rng(0)
    counts = {"train": count, "val": 8, "test": 8}
    for split, images in counts.items():
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for number in range(images):
            image, mask = _surface(size, number % 4 == 0, random)
            for kind, plane in (("images", image), ("masks", mask)):
                Image.fromarray(plane).save(folder / split / kind / f"{split}_{number:04}.png")


def _surface(
    size: tuple[int, int], defective: bool, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image and mask [h w], uint8."""
    clouds = random.normal(0.0, 12.0, (9, 9)).astype(np.float32)
    surface = 128.0 + cv2.resize(clouds, size[::-1], interpolation=cv2.INTER_CUBIC)
    surface += 40.0 * cv2.GaussianBlur(random.standard_normal(size, np.float32), (0, 0), 3.0)
    mask = np.zeros(size, np.uint8)
    if defective:
        start = random.integers(np.array(size) // 8, np.array(size) * 3 // 4)
        end = start + random.integers(8, np.array(size) // 8)
        cv2.line(mask, start[::-1].tolist(), end[::-1].tolist(), 255, int(random.integers(2, 12)))
        surface += np.where(mask > 0, 40.0, 0.0)
    surface += random.normal(0.0, 3.0, size)
    return np.rint(surface.clip(0, 255)).astype(np.uint8), mask


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Return the turns of all contenders, their figures and their versions."""
    wanted = given.only.split(";") if given.only else CONTENDERS
    names = [name for name in wanted if name in OURS or given.rival_python]
    rounds: list[dict[str, list[dict[str, float]]]] = []
    for number in range(given.rounds):
        programs = {name: _started(name, folder, given) for name in names}
        turn: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(given.epochs):
            for name, program in programs.items():
                turn[name].append(program.ask("run"))
        if number == 0:
            check_alike({name: program.ask("statistics") for name, program in programs.items()})
            versions = {name: program.ask("versions") for name, program in programs.items()}
        for program in programs.values():
            program.close()
        rounds.append(turn)
    return {"rounds": rounds, "versions": versions}


def _started(name: str, folder: Path, given: argparse.Namespace) -> Program:
    python = sys.executable if name in OURS else given.rival_python
    arguments = [name, str(folder), str(given.threads)]
    program = Program(python, "benchmarks.input_contenders", arguments)
    program.ask("ready")
    return program


def check_alike(found: Mapping[str, Mapping[str, float]]) -> None:
    """Print the figures of the changed images.

    Raises:
        SystemExit: they are not changed alike.
    """
    for name, figures in found.items():
        words = ", ".join(f"{figure} {value:.4g}" for figure, value in figures.items())
        print(f"{name}: {words}", flush=True)
    for figure, expected in next(iter(found.values())).items():
        if any(abs(each[figure] / expected - 1) > MOST_DIFFERENCE for each in found.values()):
            sys.exit(f"the contenders do not change images alike: {figure}")


def summary(rounds: Sequence[Turn]) -> dict[str, Any]:
    """Return for each contender images a second, and over those of the best rival."""
    rates = {name: [_rates(turn[name]) for turn in rounds] for name in rounds[0]}
    rivals = [name for name in rates if name not in OURS] or list(rates)
    found: dict[str, Any] = {name: {} for name in rates}
    for figure in FIGURES:
        by_round = {name: [each[figure] for each in own] for name, own in rates.items()}
        best = max(rivals, key=lambda name: statistics.median(by_round[name]))
        for name, own in by_round.items():
            ratios = [mine / theirs for mine, theirs in zip(own, by_round[best], strict=True)]
            found[name][figure] = {"rate": _spread(own), "over": best, "ratio": _spread(ratios)}
    return found


def _rates(epochs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    first, *later = epochs
    flowing = statistics.median(epoch["flowing"] for epoch in later)
    return dict(zip(FIGURES, (first["whole"], first["flowing"], flowing), strict=True))


def _spread(values: Sequence[float]) -> list[float]:
    return [statistics.median(values), min(values), max(values)]


def table(found: Mapping[str, Any]) -> str:
    """Return Markdown: images a second, and the ratio."""
    lines = ["| | " + " | ".join(FIGURES) + " |", "| --- " + "| ---: " * len(FIGURES) + "|"]
    for name, figures in found.items():
        cells = []
        for figure in FIGURES:
            (rate, *limits), ratio = figures[figure]["rate"], figures[figure]["ratio"][0]
            cells.append(f"{rate:.0f} ({limits[0]:.0f} to {limits[1]:.0f}), {ratio:.2f}x")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdict(found: Mapping[str, Any]) -> str:
    """Return ours over the best rival."""
    lines = []
    for figure in FIGURES:
        ratio, lowest, highest = found["ours"][figure]["ratio"]
        over = found["ours"][figure]["over"]
        lines.append(f"{figure}: {ratio:.2f} ({lowest:.2f} to {highest:.2f}) times {over}")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rival-python", help="python of the rivals' environment")
    parser.add_argument("--only", help="contenders, with a semicolon between two")
    parser.add_argument("--size", default="512x512", help="height and width, px")
    parser.add_argument("--images", type=int, default=512, help="of an epoch")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every contender")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="of each in each round, at least 2")
    return parser.parse_args()


def main() -> None:
    # As launch/module.sh does, and for all alike.
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    given = arguments()
    report: dict[str, Any] = {"machine": machine(given.threads), "arguments": vars(given)}
    print(json.dumps(report["machine"]), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder, size = Path(name), tuple(map(int, given.size.split("x")))
        write(folder, given.images, size)
        found = measure(folder, given)
    report["machine"]["versions"] = joined(found.pop("versions"))
    cell = summary(found["rounds"])
    print(f"\n{table(cell)}\n\n{verdict(cell)}")
    print(f"\n{json.dumps(report | {'summary': cell} | found)}")


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"a contender failed: {failed}")
