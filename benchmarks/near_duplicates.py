"""How well near-duplicates are found, on data whose groups are known.

    launch/module.sh benchmarks.near_duplicates magnetic_tile=magnetic_tile.tar \
        bsdata=bsdata_annotated.tar folder=kolektor_sdd_folder.tar synthetic=

Each argument is a data set and its root. A pair is true where both images are of one group. For
each of `near_duplicates.DISTANCES` a line says how many pairs of one group and of different groups
it finds, how many images have a sister found of those that have one, and how many images the
largest group joins; what the program chooses is marked. The last line is the time in which 100 000
images are compared.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np

from defect_jax.configs.base import base
from defect_jax.data.files.reading import in_threads
from defect_jax.data.prepare.examine import examine
from defect_jax.data.prepare.near_duplicates import (
    DISTANCES,
    close_pairs,
    find_pairs,
    hashes,
)
from defect_jax.data.sources.data_sets import data_set
from defect_jax.data.sources.groups import connected
from defect_jax.data.sources.records import SPLITS

COLUMNS = ("bits", "one group", "other groups", "sisters found", "largest")


def examined(name: str, root: str) -> tuple[list[bytes], np.ndarray]:
    """Return the thumbnail of each image, and the number of its group."""
    data = config_of(name, root)
    chosen = data_set(name)
    raw = chosen.open(data)
    found = chosen.catalogue(raw, data, SPLITS)

    def look(record):
        return examine(raw, data, len(found.classes), record).facts

    facts = list(in_threads(look, found.records, f"Reading {name}"))
    pairs = [(f.thumbnail, r.group) for f, r in zip(facts, found.records, strict=True) if f]
    groups = np.unique([group for _, group in pairs], return_inverse=True)[1]
    return [thumbnail for thumbnail, _ in pairs], groups


def config_of(name: str, root: str):
    """Return `config.data` of a data set at its defaults."""
    data = base().data
    data.update(name=name, root=root)
    if name == "magnetic_tile":
        data.update(mask_threshold=127, split="grouped", fold=0)
    if name == "synthetic":
        from defect_jax.configs.synthetic import get_config

        data = get_config().data
    return data


def lines_of(thumbnails: Sequence[bytes], groups: np.ndarray) -> list[tuple[str, ...]]:
    """Return what each distance finds."""
    words, lines = hashes(thumbnails), []
    chosen = find_pairs(thumbnails).rows
    in_group = np.bincount(groups)[groups] > 1
    for distances in DISTANCES:
        by_hash = [close_pairs(*given) for given in zip(words, distances, strict=True)]
        rows = np.unique(np.concatenate([pairs.rows for pairs in by_hash]), axis=0)
        true = groups[rows[:, 0]] == groups[rows[:, 1]]
        met = len(np.unique(rows[true]))
        largest = max(Counter(connected(len(groups), rows)).values())
        mark = "*" if np.array_equal(rows, chosen) else ""
        cells = "+".join(map(str, distances)) + mark, true.sum(), (~true).sum()
        lines.append((*map(str, cells), f"{met} of {in_group.sum()}", str(largest)))
    return lines


def seconds_of(count: int) -> float:
    """Return how long the search takes among random hashes, on one core."""
    words = np.random.default_rng(0).integers(0, 2**63, (count, 4), dtype=np.uint64)
    start = time.perf_counter()
    close_pairs(words, DISTANCES[0][0])
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sets", nargs="+", metavar="NAME=ROOT")
    for given in parser.parse_args().sets:
        name, _, root = given.partition("=")
        thumbnails, groups = examined(name, root)
        print(f"\n{name}: {len(groups)} images, {len(np.unique(groups))} groups")
        print("  ".join(f"{text:>14}" for text in COLUMNS))
        for line in lines_of(thumbnails, groups):
            print("  ".join(f"{text:>14}" for text in line))
    print(f"\n100 000 images compared in {seconds_of(100_000):.0f} s")


if __name__ == "__main__":
    main()
