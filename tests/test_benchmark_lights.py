"""Magnetic Tile as shots of six lights and as six shots: the same parts in the same splits."""

import csv
from collections import Counter

import numpy as np
import raw_data

from benchmarks.lights_set import EXPOSURES, complete_parts, part_of, split_of, write
from defect_jax.data.files.raw_files import open_root
from defect_jax.data.sources import folder
from defect_jax.data.sources.records import SPLITS


def test_a_part_is_one_shot_here_and_six_images_of_a_group_there(tmp_path):
    parts = complete_parts()
    assert len(parts) == 181 and {len(entries) for entries in parts.values()} == {EXPOSURES}
    chosen = [next(p for p in parts.items() if p[1][0].fold == fold) for fold in range(4)]
    lines = []
    for group, entries in chosen:
        files = {}
        for seed, entry in enumerate(entries):  # crops of several sizes
            pixels = raw_data.noise(10 * int(group) + seed, 20 + seed, 16)
            files[f"{entry.id}.jpg"] = raw_data.encoded(pixels, "JPEG")
            files[f"{entry.id}.png"] = raw_data.encoded(raw_data.defect_mask(20 + seed, 16))
        part = part_of(group, entries, files)
        assert part.images.shape == part.masks.shape == (20, 16, EXPOSURES)
        assert part.masks.any(axis=(0, 1)).all() and np.ptp(part.images) > 100
        lines += write(part, tmp_path, split_of(part.fold, 0), "union")
    with (tmp_path / "shots/groups.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "group"), *lines])
    found = {}
    for kind, lights in (("lights", EXPOSURES), ("shots", 1)):
        data = raw_data.config("folder", tmp_path / kind, tmp_path, lights=lights)
        found[kind] = folder.catalogue(open_root(data.root), data, SPLITS)
        assert not found[kind].faults
    shots = Counter((record.group, record.split) for record in found["shots"].records)
    assert len(shots) == 4 and set(shots.values()) == {EXPOSURES}
    of_lights = {(r.id.rpartition("/")[2], r.split) for r in found["lights"].records}
    assert of_lights == set(shots)
