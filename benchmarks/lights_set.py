"""Magnetic Tile's six exposures of a piece, once as six lights of one shot and once as six shots.

    python -m benchmarks.lights_set --tar=magnetic_tile.tar --output=DIR [--fold=0] [--masks=union]

writes `DIR/lights` (`x.1.png` to `x.6.png` with one mask, `config.data.lights=6`) and `DIR/shots`
(the same pixels as six images, with groups.csv): the same parts in the same `train/`, `val/` and
`test/`, by the folds of the protocol. Parts are the groups that have each exposure once: 181 of
202. Crops of one piece differ by some pixels, so all are scaled to the size of the first; what is
left of their shift stays, in the union of the masks too.
"""

import argparse
import csv
import re
import tarfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from defect_jax.data.files.images import decode_image
from defect_jax.data.geometry.resampling import resampled
from defect_jax.data.sources.magnetic_tile import FOLDS, Entry, protocol

EXPOSURES = 6
ABOVE = 127  # of a mask, as configs/magnetic_tile.py has it
NAME = re.compile(r"exp([0-9])_num_[0-9]+")


class Part(NamedTuple):
    """A piece: its exposures at the size of the first [h w 6], and their masks likewise."""

    name: str
    fold: int
    images: np.ndarray
    masks: np.ndarray


def complete_parts() -> dict[str, list[Entry]]:
    """Return the images of the groups that have every exposure once, in order of exposures."""
    groups = defaultdict(lambda: defaultdict(list))
    for entry in protocol():
        groups[entry.group][int(NAME.fullmatch(entry.name)[1])].append(entry)
    wanted = range(1, EXPOSURES + 1)
    return {
        group: [found[number][0] for number in wanted]
        for group, found in groups.items()
        if all(len(found[number]) == 1 for number in wanted)
    }


def part_of(group: str, entries: list[Entry], files: Mapping[str, bytes]) -> Part:
    """Read the six images of a part and their masks, all at the size of the first."""
    images = [decode_image(files[f"{entry.id}.jpg"])[..., :1] for entry in entries]
    masks = [decode_image(files[f"{entry.id}.png"])[..., :1] > ABOVE for entry in entries]
    size_px = images[0].shape[:2]
    scaled = [resampled(image, size_px) for image in images]
    marked = [resampled(mask.astype(np.float32), size_px) >= 0.5 for mask in masks]
    name = f"part_{int(group):03d}"
    return Part(name, entries[0].fold, np.dstack(scaled), np.dstack(marked))


def split_of(fold: int, test: int) -> str:
    """Return the split of a fold, as the data set magnetic_tile has it.

    >>> [split_of(fold, 4) for fold in range(5)]
    ['val', 'train', 'train', 'train', 'test']
    """
    return {test: "test", (test + 1) % FOLDS: "val"}.get(fold, "train")


def write(part: Part, folder: Path, split: str, masks: str) -> list[tuple[str, str]]:
    """Write a part into both folders and return its lines of groups.csv."""
    lines = []
    union = part.masks.any(axis=2) if masks == "union" else part.masks[..., 0]
    _write(folder / "lights" / split / "masks" / f"{part.name}.png", union * np.uint8(255))
    for number in range(EXPOSURES):
        pixels, mask = part.images[..., number], part.masks[..., number] * np.uint8(255)
        light, shot = f"{part.name}.{number + 1}.png", f"{part.name}_exp{number + 1}.png"
        _write(folder / "lights" / split / "images" / light, pixels)
        _write(folder / "shots" / split / "images" / shot, pixels)
        _write(folder / "shots" / split / "masks" / shot, mask)
        lines.append((f"{split}/images/{shot}", part.name))
    return lines


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def main() -> None:
    """Write both folders, and print how many parts there are."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tar", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--fold", type=int, default=0, choices=range(FOLDS))
    parser.add_argument("--masks", default="union", choices=["union", "first"])
    flags = parser.parse_args()
    with tarfile.open(flags.tar) as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}
    lines, counts = [], defaultdict(lambda: [0, 0])
    for group, entries in complete_parts().items():
        part = part_of(group, entries, files)
        split = split_of(part.fold, flags.fold)
        lines += write(part, flags.output, split, flags.masks)
        counts[split][int(part.masks.any())] += 1
    with (flags.output / "shots" / "groups.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "group"), *lines])
    for split, (good, defective) in sorted(counts.items()):
        print(f"{split}: {good} good and {defective} defective parts of {EXPOSURES} exposures")


if __name__ == "__main__":
    main()
