"""Which defects are found, by their size, at equal numbers of false ones: tiles or one frame?

    launch/local.sh --config=configs/bsdata.py:cpu --config.data.root=BSData.zip
    launch/local.sh --config=configs/bsdata.py:cpu_scaled --config.data.root=BSData.zip
    launch/module.sh benchmarks.regions --workdirs=runs/bsdata-cpu,runs/bsdata-cpu_scaled

A defect is a connected region of the true mask, at the image's own size, and is found if the
mask has a pixel in it. A false one is a region of the mask that touches no defect. The pixel
threshold of each network is the lowest on the validation split with at most `--false_per_image`
false regions an image; then it is applied to the test split.
"""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import jax
import numpy as np
from absl import app, flags
from jax.sharding import Mesh
from jaxtyping import Bool, Float32
from ml_collections import ConfigDict
from scipy import special

from benchmarks.controls.native_maps import native_maps
from defect_jax.data.geometry.framing import Letterbox, Tiling
from defect_jax.data.geometry.input_spec import InputSpec, filled_up
from defect_jax.data.geometry.stitching import iter_tile_rows
from defect_jax.data.pipeline.loading import decoded
from defect_jax.data.prepare.prepared import Split
from defect_jax.decision.apply import defect_probability
from defect_jax.distributed.sharding import batch_sharding, one_device_mesh, replicated
from defect_jax.metrics.intervals import rate_interval
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import make_probabilities
from defect_jax.runtime.compiler_options import compiler_options
from defect_jax.runtime.console import track
from defect_jax.workdir.best_weights import restore_trained
from defect_jax.workdir.trained_data import data_to_judge_on

WORKDIRS = flags.DEFINE_list("workdirs", ["runs/bsdata-cpu", "runs/bsdata-cpu_scaled"], "Trained.")
FALSE = flags.DEFINE_list("false_per_image", ["0.5", "1", "2"], "Allowed on validation.")
EDGES_PX = (100, 500, 2000, 10000)
THRESHOLDS = special.expit(np.linspace(-4.0, 15.0, 77)).astype(np.float32)


class Regions(NamedTuple):
    """The defects of one image, and what each threshold makes of it."""

    group: str
    size_px: np.ndarray  # [defects]
    found: np.ndarray  # [defects thresholds], bool
    false: np.ndarray  # [thresholds], false regions


def main(_: Sequence[str]) -> None:
    """Print a line for each workdir and number of false regions."""
    names = [f"{low} to {high} px" for low, high in bins()]
    print("| workdir | threshold | false an image, val | test | all | " + " | ".join(names) + " |")
    print("| --- " * (len(names) + 5) + "|")
    for workdir in map(pathlib.Path, WORKDIRS.value):
        val, test = of_workdir(workdir)
        for allowed in map(float, FALSE.value):
            false = np.mean([image.false for image in val], axis=0)
            if not (false <= allowed).any():
                print(
                    f"| {workdir.name} | none has at most {allowed:g}, at least {false.min():.2f} |"
                )
                continue
            place = int(np.argmax(false <= allowed))
            print(line(workdir.name, place, float(false[place]), test), flush=True)


def line(name: str, place: int, false: float, test: Sequence[Regions]) -> str:
    """Return one row: recall of all defects and of each size, with 95 % intervals over groups."""
    sizes = np.concatenate([image.size_px for image in test])
    found = np.concatenate([image.found[:, place] for image in test])
    groups = np.repeat([p.group for p in test], [len(p.size_px) for p in test])
    cells = [np.ones(len(sizes), bool), *((sizes >= a) & (sizes < b) for a, b in bins())]
    on_test = np.mean([image.false[place] for image in test])
    shown = [recall(found[cell], groups[cell]) for cell in cells]
    first = f"| {name} | {THRESHOLDS[place]:.3f} | {false:.2f} | {on_test:.2f} | "
    return first + " | ".join(shown) + " |"


def bins() -> list[tuple[int, float]]:
    """Return the smallest and next smallest size of each bin."""
    return list(zip((1, *EDGES_PX), (*EDGES_PX, np.inf), strict=True))


def recall(found: Bool[np.ndarray, " n"], groups: np.ndarray) -> str:
    """Return share, count and interval in a few characters."""
    if not len(found):
        return "none"
    low, high = rate_interval(found, groups.tolist())
    return f"{found.mean():.2f} ({low:.2f} to {high:.2f}), {found.sum()}/{len(found)}"


def of_workdir(workdir: pathlib.Path) -> tuple[list[Regions], list[Regions]]:
    """Return all images of the validation and of the test split."""
    mesh = one_device_mesh()
    network, config, ema, _ = restore_trained(workdir, mesh)
    splits = data_to_judge_on(config, workdir, {"val", "test"}).splits
    maps = {Letterbox: frame_maps, Tiling: tile_maps}[type(InputSpec.of(config).framing)]
    return tuple(
        [
            regions(row.group, mask, probability)
            for row, (mask, probability) in zip(
                splits[split].rows, maps(network, ema, splits[split], config, mesh), strict=True
            )
        ]
        for split in ("val", "test")
    )


def frame_maps(
    network: SegmentationNetwork, ema, split: Split, config: ConfigDict, mesh: Mesh
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield true mask and probability of images that are scaled into one frame."""
    for image in native_maps(network, ema, split, config, mesh):
        yield image.truth > 0, defect_probability(image.maps, 0)


def tile_maps(
    network: SegmentationNetwork, ema, split: Split, config: ConfigDict, mesh: Mesh
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the same of images that are cut into tiles."""
    step = jax.jit(
        make_probabilities(network, config.data_info, config.evaluation),
        out_shardings=replicated(mesh),
        compiler_options=compiler_options(),
    )
    size, spec = config.train.batch_size, InputSpec.of(config)

    def start(tiles):
        frames = spec.intensity.shares(filled_up(tiles, size))
        return step(ema, jax.device_put(frames, batch_sharding(mesh)))

    with contextlib.closing(track(range(len(split.rows)), "predicting", len(split.rows))) as rows:
        for row in rows:
            image, mask, _ = decoded(split, row, spec)
            strips = iter_tile_rows(image, spec.framing.grid(mask.shape), start, size)
            yield mask > 0, np.concatenate([defect_probability(strip.maps, -1) for strip in strips])


def regions(
    group: str, mask: Bool[np.ndarray, "h w"], probability: Float32[np.ndarray, "h w"]
) -> Regions:
    """Look at one image with every threshold."""
    count, labelled = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    highest = np.zeros(count, np.float32)
    np.maximum.at(highest, labelled[mask], probability[mask])
    size_px = np.bincount(labelled.ravel(), minlength=count)[1:]
    false = [false_regions(mask, probability >= threshold) for threshold in THRESHOLDS]
    return Regions(group, size_px, highest[1:, None] >= THRESHOLDS, np.array(false))


def false_regions(mask: Bool[np.ndarray, "h w"], marked: Bool[np.ndarray, "h w"]) -> int:
    """Return the number of marked regions that touch no defect."""
    count, labelled = cv2.connectedComponents(marked.astype(np.uint8), connectivity=8)
    return count - 1 - len(np.setdiff1d(labelled[mask], [0]))


if __name__ == "__main__":
    app.run(main)
