"""What an ensemble costs beside one network: its files, how long they take to load and to decide.

    launch/module.sh benchmarks.ensemble --workdirs=runs/one,runs/folds

Exports each workdir (both files must agree, as in `--mode=export`) and decides on noise of each
size: `model.onnx` under onnxruntime on one thread and on two, `model.stablehlo` under jax on what
cores there are. Processor time is what a busy machine changes least; the least time on the wall is
beside it. Files take turns, image by image.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
import onnxruntime
from absl import app, flags
from jax import export as jax_export
from jaxtyping import UInt8

from defect_jax.deploy.export import INPUT, ONNX, STABLEHLO, models
from defect_jax.distributed.sharding import one_device_mesh
from defect_jax.runtime.paths import as_path
from defect_jax.workdir.best_weights import restore_trained

WORKDIRS = flags.DEFINE_list("workdirs", None, "Of 8-bit images.", required=True)
SIZES = flags.DEFINE_list("sizes", ["192x192", "300x500"], "Height x width of the images.")
TURNS = flags.DEFINE_integer("turns", 11, "Decisions that are timed, of each file on each size.")
THREADS = (1, 2)
Decide = Callable[[UInt8[np.ndarray, "1 h w c"]], object]


def main(_: Sequence[str]) -> None:
    """Print one line for each file, and then one for each way of deciding and size."""
    ways: dict[str, Decide] = {}
    channels = 1
    for name in WORKDIRS.value:
        trained = restore_trained(as_path(name), one_device_mesh())
        channels = trained.config.data_info.channels
        files, largest = models(trained)
        for file, data in files.items():
            print(f"| {name} | {file} | {len(data) / 1e6:.1f} MB | differ by {largest:.1e} |")
        ways |= {f"{name} | {way}": decide for way, decide in ways_of(files)}
    for size in SIZES.value:
        height, width = map(int, size.split("x"))
        noise = np.random.default_rng(0).integers(0, 256, (1, height, width, channels), np.uint8)
        seconds = timed(ways, noise)
        for way, pairs in seconds.items():
            processor, wall = np.transpose(pairs)
            numbers = f"{1e3 * np.median(processor):.0f} | {1e3 * wall.min():.0f}"
            print(f"| {way} | {size} | {numbers} |", flush=True)


def ways_of(files: dict[str, bytes]) -> Iterator[tuple[str, Decide]]:
    """Yield how to decide with the files of a network, and print how long each takes to load."""
    for threads in THREADS:
        began = time.process_time()
        session = session_of(files[ONNX], threads)
        print(f"{ONNX}: loaded in {time.process_time() - began:.1f} s of processor time")
        yield (
            f"{ONNX}, threads: {threads}",
            lambda image, session=session: session.run(None, {INPUT: image}),
        )
    program = jax.jit(jax_export.deserialize(bytearray(files[STABLEHLO])).call)
    yield STABLEHLO, lambda image: jax.block_until_ready(program(image))


def session_of(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """Return what runs a model on so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def timed(
    ways: dict[str, Decide], image: UInt8[np.ndarray, "1 h w c"]
) -> dict[str, list[tuple[float, float]]]:
    """Return seconds of the processor and on the wall of each decision but the first."""
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for way, decide in ways.items():
        began = time.process_time()
        decide(image)
        print(f"{way}: first call {time.process_time() - began:.1f} s of processor time")
    for _, (way, decide) in itertools.product(range(TURNS.value), ways.items()):
        began = time.process_time(), time.perf_counter()
        decide(image)
        seconds[way].append((time.process_time() - began[0], time.perf_counter() - began[1]))
    return seconds


if __name__ == "__main__":
    app.run(main)
