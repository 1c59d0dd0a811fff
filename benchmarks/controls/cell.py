"""One control on one network: post-processed, tuned anew and judged.

control.json says what the results were made from. It is written last, so it marks the end.
"""

import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt16
from ml_collections import ConfigDict

from benchmarks.controls.native_maps import NativeMaps, native_maps
from benchmarks.controls.post_processing import Control
from benchmarks.controls.scores import scored
from benchmarks.controls.threshold import Binned, best_threshold
from defect_jax.data.pipeline.batches import canvas_px
from defect_jax.data.prepare.prepared import Prepared, Split
from defect_jax.decision import DecisionRule
from defect_jax.distributed.sharding import make_mesh
from defect_jax.evaluation.result_files import ResultFolder
from defect_jax.evaluation.result_tables import tabulate
from defect_jax.metrics.histogram import bin_index
from defect_jax.metrics.summary import Metrics
from defect_jax.models.network import SegmentationNetwork
from defect_jax.runtime import atomic_files
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import run_config
from defect_jax.workdir.best_weights import (
    read_history,
    restore_best,
    selection_scores,
)
from defect_jax.workdir.trained_data import data_to_judge_on
from defect_jax.workdir.weight_shapes import image_shape

FILE = "control.json"
OF_THE_NETWORK = ("metrics.jsonl", "decision.json")  # another training, another checkpoint
Predict = Callable[[Split], Iterator[NativeMaps]]


def run_control(
    control: Control, workdir: pathlib.Path, base: pathlib.Path, asked: ConfigDict
) -> None:
    """Choose the pixel threshold on validation and write eval/test of the post-processed masks.

    Args:
        workdir: where control.json and eval/test go.
        base: workdir of the network.
        asked: the config of the network; the place of the data may differ.

    Raises:
        UserError: the base has another config, or no checkpoint that its decision was made for.
    """
    config = run_config.of_workdir(base, asked)
    step, predict = _best_network(config, base)
    made = DecisionRule.from_json(base / "decision.json")
    if made.checkpoint_step != step:
        raise UserError(
            f"{base}: decision.json is of step {made.checkpoint_step}, but step {step} is the best "
            "checkpoint: evaluate it again"
        )
    prepared = data_to_judge_on(config, base, {"val", "test"})
    pixel = tuned(predict, prepared.splits["val"], control, made.pixel_threshold)
    say(f"step {step} of {base.name}: pixel threshold {made.pixel_threshold:.4f} -> {pixel:.4f}")
    write_results(workdir, predict, prepared, config, control, pixel, made)
    write_record(workdir, base, control, checkpoint_step=step, pixel_threshold=pixel)


def _best_network(config: ConfigDict, workdir: pathlib.Path) -> tuple[int, Predict]:
    """Return the step of the best checkpoint, and a function that yields its maps of a split."""
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
    network = SegmentationNetwork(**config.model)
    scores = selection_scores(read_history(workdir))
    step, ema = restore_best(network, image_shape(config), workdir, scores, mesh)
    return step, lambda split: native_maps(network, ema, split, config, mesh)


def tuned(predict: Predict, val: Split, control: Control, own: float) -> float:
    """Return the pixel threshold for the control's masks, from one pass over validation.

    Args:
        own: the threshold of the network's masks as they are.
    """
    canvas, bins_of = canvas_px(val), jax.jit(bin_index)

    def binned(image: NativeMaps) -> Binned:
        smoothed = control.smooth(image.maps).sum(axis=0)
        return Binned(_bins(smoothed, canvas, bins_of), image.truth > 0)

    kept = [binned(image) for image in predict(val)]
    say(f"choosing the pixel threshold on {len(kept)} images …")
    return best_threshold(kept, control.mend, own)


def _bins(
    probability: np.ndarray, canvas: tuple[int, int], bins_of: Any
) -> UInt16[np.ndarray, "h w"]:
    """Return the bins, through a canvas of one shape: no program for each size of image."""
    height, width = probability.shape
    whole = np.pad(probability, ((0, canvas[0] - height), (0, canvas[1] - width)))
    return np.asarray(bins_of(whole))[:height, :width].astype(np.uint16)


def write_results(
    workdir: pathlib.Path,
    predict: Predict,
    prepared: Prepared,
    config: ConfigDict,
    control: Control,
    pixel: float,
    made: DecisionRule,
) -> Metrics:
    """Tabulate the test split once and write eval/test, as `evaluate` does for a network.

    Args:
        pixel: threshold of the smoothed probability.
        made: the network's own decision, which stays for all else.
    """
    judged = prepared.splits["test"]
    results = ResultFolder(workdir / "eval" / "test")
    with results:
        on_mask = results.mask_of(judged, config.data_info.classes)
        scores = scored(predict(judged), control, pixel, made, canvas_px(judged), on_mask)
        tables = tabulate(judged, scores, made, config.data_info, prepared.info.leaking)
        results.write_tables(tables)
    return tables.metrics


def write_record(
    workdir: pathlib.Path, base: pathlib.Path, control: Control, **chosen: Any
) -> None:
    """Mark the control as finished.

    Args:
        workdir: of the control.
        base: workdir of the network.
        chosen: what else is worth knowing, such as the threshold.
    """
    text = json.dumps(_origin(base, control) | chosen, indent=2, allow_nan=False)
    atomic_files.write_text(workdir / FILE, text + "\n")


def is_recorded(workdir: pathlib.Path, base: pathlib.Path, control: Control) -> bool:
    """Return whether this control is finished on the network as it is now."""
    path = workdir / FILE
    if not path.exists():
        return False
    kept = json.loads(path.read_text())
    return all(kept.get(name) == value for name, value in _origin(base, control).items())


def _origin(base: pathlib.Path, control: Control) -> dict[str, str]:
    digest = hashlib.sha256()
    for name in OF_THE_NETWORK:
        path = base / name
        digest.update(path.read_bytes() if path.exists() else b"")
    return {"of": base.name, **control.described(), "network": digest.hexdigest()}
