"""What is found inside the gaps of defects, before and after pixel confidence, against controls.

    launch/ablation.sh --config=configs/synthetic_gaps_ablation.py:cpu
    launch/module.sh benchmarks.gaps --workdir=runs/synthetic_gaps_ablation-cpu

Takes the trained networks of that ablation. Each variant's pixel threshold is chosen anew on the
validation split, by the best F1 of pixels; then the masks of the test split are compared with the
truth in the gaps (where all is defect, so that the IoU is the share found), on hair cracks, which
have none, and on all images.
"""

import pathlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import app, flags
from jaxtyping import Bool

from benchmarks.controls.native_maps import NativeMaps, native_maps
from benchmarks.controls.threshold import Binned, best_threshold
from benchmarks.gap_variants import VARIANTS, Variant
from defect_jax.data.prepare.prepared import Prepared, Split
from defect_jax.data.sources.synthetic import generator
from defect_jax.data.sources.synthetic.options import Options, checked
from defect_jax.distributed.sharding import make_mesh
from defect_jax.metrics.histogram import bin_index
from defect_jax.models.network import SegmentationNetwork
from defect_jax.workdir import run_config
from defect_jax.workdir.best_weights import (
    read_history,
    restore_best,
    selection_scores,
)
from defect_jax.workdir.trained_data import data_to_judge_on
from defect_jax.workdir.weight_shapes import image_shape

WORKDIR = flags.DEFINE_string("workdir", "runs/synthetic_gaps_ablation-cpu", "Of the ablation.")
SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Of its cells.")
CRACK = "hair_crack"
COLUMNS = ("in gaps", "in gaps, weave", "in gaps, fray", "on cracks", "IoU, all", "good marked, ‰")
OWN_THRESHOLD = 0.5  # returned only where a split has no defect


class Found(NamedTuple):
    """Pixels of one image."""

    class_name: str
    gap_px: int
    gap_found_px: int
    true_px: int
    found_px: int
    marked_px: int
    image_px: int


def main(_: Sequence[str]) -> None:
    """Print a table: mean and spread over the seeds, one line a variant."""
    rows: dict[str, list[tuple[float, ...]]] = {}
    for seed in SEEDS.value:
        for name, numbers in of_seed(pathlib.Path(WORKDIR.value), int(seed)):
            rows.setdefault(name, []).append(numbers)
    print("| " + " | ".join(("", *COLUMNS)) + " |")
    print("| --- |" + " ---: |" * len(COLUMNS))
    for name, numbers in rows.items():
        cells = [shown(column) for column in zip(*numbers, strict=True)]
        print("| " + " | ".join((name, *cells)) + " |", flush=True)


def of_seed(folder: pathlib.Path, seed: int) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Yield name and numbers of every variant, from the cells of one seed."""
    for variant in VARIANTS:
        cell = folder / "cells" / f"{variant.row}-seed_{seed}"
        config = run_config.of_workdir(cell, None)
        prepared = data_to_judge_on(config, cell, {"val", "test"})
        predict = predictor(cell, config, variant)
        yield variant.title, tuple(judged(predict, prepared, checked(config.data), variant))


def predictor(
    cell: pathlib.Path, config: Any, variant: Variant
) -> Callable[[Split], Iterator[NativeMaps]]:
    """Return predictions of the cell's best checkpoint, with the variant's pixel confidence or
    none."""
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
    trained = SegmentationNetwork(**config.model)
    scores = selection_scores(read_history(cell))
    _, ema = restore_best(trained, image_shape(config), cell, scores, mesh)
    asked = config.model.to_dict()
    if variant.pixel_confidence is not None:
        asked["pixel_confidence"] = variant.pixel_confidence
    return lambda split: native_maps(SegmentationNetwork(**asked), ema, split, config, mesh)


def judged(
    predict: Callable[[Split], Iterator[NativeMaps]],
    prepared: Prepared,
    options: Options,
    variant: Variant,
) -> list[float]:
    """Return the numbers of COLUMNS on the test split, at the threshold that is best on
    validation."""
    bins_of = jax.jit(bin_index)
    kept = [
        Binned(np.asarray(bins_of(smoothed(image, variant))).astype(np.uint16), image.truth > 0)
        for image in predict(prepared.splits["val"])
    ]
    pixel = best_threshold(kept, variant.mend, OWN_THRESHOLD)
    test = prepared.splits["test"]
    found = []
    for row, image in zip(test.rows, predict(test), strict=True):
        decided = variant.mend(smoothed(image, variant) >= np.float32(pixel))
        gaps = generator.draw_gaps(options, *generator.part_of(options, row.id)) > 0
        found.append(counted(row.class_name, decided, image.truth > 0, gaps))
    return numbers_of(found)


def smoothed(image: NativeMaps, variant: Variant) -> np.ndarray:
    """Return the probability of any defect, [h w]."""
    return variant.smooth(image.maps).sum(axis=0)


def counted(
    class_name: str,
    decided: Bool[np.ndarray, "h w"],
    truth: Bool[np.ndarray, "h w"],
    gaps: Bool[np.ndarray, "h w"],
) -> Found:
    """Count the pixels of one image."""
    pixels = (gaps, decided & gaps, truth, decided & truth, decided)
    return Found(class_name, *(int(np.count_nonzero(p)) for p in pixels), truth.size)


def numbers_of(images: Sequence[Found]) -> list[float]:
    """Return the numbers of COLUMNS, each pooled over its images."""

    def share(part: str, whole: str, *classes: str) -> float:
        chosen = [p for p in images if not classes or p.class_name in classes]
        parts, wholes = (sum(getattr(p, name) for p in chosen) for name in (part, whole))
        return parts / wholes

    found, true, marked = (
        sum(getattr(p, name) for p in images) for name in ("found_px", "true_px", "marked_px")
    )
    return [
        share("gap_found_px", "gap_px"),
        share("gap_found_px", "gap_px", "weave"),
        share("gap_found_px", "gap_px", "fray"),
        share("found_px", "true_px", CRACK),
        found / (true + marked - found),
        1000.0 * share("marked_px", "image_px", "good"),
    ]


def shown(values: Sequence[float]) -> str:
    """Return the mean and standard deviation."""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


if __name__ == "__main__":
    app.run(main)
