"""What small networks cost and what they still find: plain, separable, pruned, in eight bits.

    launch/module.sh benchmarks.lite --workdirs=runs/plain,runs/lite,runs/lite_pruned

Each workdir gives two lines: its float32 ONNX file, with the test metrics that its evaluation has
written, and the same in eight bits, with those of that file itself. The scales of the latter come
from validation images, its thresholds from the float32 network. A pruned network is a copy of a
workdir that was evaluated with another `config.model.prune`.

Parameters are those that a decision reads. Latency is the median of whole decisions, from the bytes
of one image to its mask, under onnxruntime on one core; the files take turns image by image.
"""

import itertools
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
import onnxruntime
from absl import app, flags, logging
from jax import export as jax_export
from jaxtyping import UInt, UInt8

from benchmarks.lite_metrics import of_file
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.pipeline.loading import decoded
from defect_jax.data.prepare.prepared import Split
from defect_jax.decision.apply import Decision
from defect_jax.deploy import int8
from defect_jax.deploy.export import INPUT, input_shape
from defect_jax.deploy.inputs import MOST_IMAGES
from defect_jax.deploy.onnx import to_onnx
from defect_jax.deploy.program import make_program
from defect_jax.distributed.sharding import one_device_mesh
from defect_jax.models.probabilities import make_probabilities
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath, as_path, read_text
from defect_jax.workdir.best_weights import Trained, restore_trained
from defect_jax.workdir.trained_data import data_to_judge_on

WORKDIRS = flags.DEFINE_list("workdirs", None, "Trained and evaluated.", required=True)
TIMED = flags.DEFINE_integer("timed", 60, "Test images that latency is taken over.")
METRICS = ("image_ap", "image_auroc", "seg_miou", "seg_recall", "pixel_ap")


class File(NamedTuple):
    """One line of the table."""

    title: str
    data: bytes
    parameters: int
    metrics: dict[str, float | None]


def main(_: Sequence[str]) -> None:
    """Print the table."""
    logging.set_verbosity(logging.WARNING)  # the quantiser tells of every bias
    files, timed = [], {}
    for name in WORKDIRS.value:
        trained = restore_trained(as_path(name), one_device_mesh())
        splits = data_to_judge_on(trained.config, as_path(name), {"val", "test"}).splits
        for file in files_of(as_path(name), trained, splits):
            files.append(file)
            timed[file.title] = list(itertools.islice(images(splits["test"], trained), TIMED.value))
    say("timing …")
    latency = latencies(files, timed)
    print(f"onnxruntime {onnxruntime.__version__}, one core")
    print("| network | parameters | file, kB | p50, ms | " + " | ".join(METRICS) + " |")
    print("| --- |" + " ---: |" * (3 + len(METRICS)))
    for file in files:
        print(line(file, statistics.median(latency[file.title])), flush=True)


def files_of(workdir: AnyPath, trained: Trained, splits: dict[str, Split]) -> Iterator[File]:
    """Yield the float32 file of a workdir and, where the network allows it, the one in eight
    bits."""
    path = workdir / "eval" / "test" / "metrics.json"
    if not path.exists():
        raise UserError(f"{path}: not there; run --mode=evaluate first")
    prune, parameters = trained.config.model.prune, read_parameters(trained)
    title = workdir.name + (f", X(0,{prune})" if prune else "")
    say(f"{title}: writing and judging its files …")
    model = to_onnx(
        make_program(*trained), {INPUT: input_shape(InputSpec.of(trained.config))}, Decision._fields
    )
    data = model.SerializeToString()
    yield File(title, data, parameters, json.loads(read_text(path)))
    calibration = list(itertools.islice(spread(splits["val"], trained), MOST_IMAGES))
    try:
        small = int8.quantised(data, calibration)
    except UserError as error:
        say(str(error))
        return
    metrics = of_file(small, splits["test"], examples(splits["test"], trained))
    yield File(f"{title}, int8", small, parameters, metrics)


def read_parameters(trained: Trained) -> int:
    """Return the number of parameters that a decision reads; running statistics are none."""
    config = trained.config
    image = jax.ShapeDtypeStruct((1, *config.data.size, config.data_info.channels), np.float32)
    step = jax.jit(make_probabilities(trained.network, config.data_info, config.evaluation))
    kept = set(jax_export.export(step)(trained.ema, image).module_kept_var_idx)
    leaves = jax.tree_util.tree_leaves_with_path(trained.ema)
    return sum(
        leaf.size
        for place, (path, leaf) in enumerate(leaves)
        if place in kept and path[0].key == "params"
    )


def examples(
    split: Split, trained: Trained
) -> Iterator[tuple[UInt[np.ndarray, "1 h w c"], UInt8[np.ndarray, "h w"]]]:
    """Yield every image of a split as an exported file takes it, and the class of its pixels."""
    spec = InputSpec.of(trained.config)
    for row in range(len(split.rows)):
        image, mask, _ = decoded(split, row, spec)
        yield image[None], mask


def images(split: Split, trained: Trained) -> Iterator[UInt[np.ndarray, "1 h w c"]]:
    """Return the images alone."""
    return (image for image, _ in examples(split, trained))


def spread(split: Split, trained: Trained) -> Iterator[UInt[np.ndarray, "1 h w c"]]:
    """Return every so many-th image, so that `MOST_IMAGES` go through the whole split."""
    return itertools.islice(images(split, trained), 0, None, -(-len(split.rows) // MOST_IMAGES))


def latencies(
    files: Sequence[File], timed: dict[str, list[UInt[np.ndarray, "1 h w c"]]]
) -> dict[str, list[float]]:
    """Return seconds of each decision of each file; the first one of all is not counted."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = {
        file.title: onnxruntime.InferenceSession(
            file.data, options, providers=["CPUExecutionProvider"]
        )
        for file in files
    }
    seconds: dict[str, list[float]] = {file.title: [] for file in files}
    for number in range(TIMED.value):
        for title, session in sessions.items():
            image = timed[title][number % len(timed[title])]
            began = time.perf_counter()
            session.run(None, {INPUT: image})
            seconds[title].append(time.perf_counter() - began)
    return {title: each[1:] for title, each in seconds.items()}


def line(file: File, seconds: float) -> str:
    """Return the line of a file."""
    values = [file.metrics[name] for name in METRICS]
    numbers = ["–" if value is None else f"{value:.3f}" for value in values]
    kilobytes = f"{len(file.data) / 1e3:.0f}"
    cells = [file.title, f"{file.parameters:,}", kilobytes, f"{1e3 * seconds:.1f}", *numbers]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    app.run(main)
