"""A training step, or an evaluation, in ours and in PyTorch, each a program for `benchmarks.turns`.

The packages are imported by the function that needs them: the rivals' environment lacks ours.
"""

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.predict_contenders import versions
from benchmarks.turns import serve, use_processors

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
CONFIG, WEIGHTS, BATCH = "config.json", "weights.npz", "batch.npz"
Batch = Mapping[str, Any]  # as the contender's own arrays
Step = Callable[[Batch], Mapping[str, Any]]  # -> losses before it, gradient's norm: on the device
Ready = tuple[Step, Batch]  # and a batch to take it on


def ours(measure: bool, told: bool = True) -> Callable[[Path, int], Ready]:
    """Return the program's own step, jitted as `train.py` does.

    Args:
        measure: also the gradients' norms.
        told: with `training_options`.
    """

    def contender(folder: Path, threads: int) -> Ready:
        import jax
        from flax.traverse_util import unflatten_dict
        from ml_collections import ConfigDict

        from defect_jax.models.encoders import PLAIN as PLAIN_ENCODER
        from defect_jax.models.network import SegmentationNetwork
        from defect_jax.runtime.compilation import compile_ahead
        from defect_jax.runtime.compiler_options import training_options
        from defect_jax.training.optimizer import make_tx
        from defect_jax.training.steps import create_state, make_train_step

        del threads  # XLA takes the processors that the process may use
        config = ConfigDict(json.loads((folder / CONFIG).read_text()))
        with np.load(folder / WEIGHTS) as arrays:
            variables = unflatten_dict(dict(arrays), sep="/")
        network, tx = SegmentationNetwork(**config.model), make_tx(config)
        batch = jax.device_put(dict(np.load(folder / BATCH)))
        is_pretrained = config.model.encoder != PLAIN_ENCODER
        options = training_options(config.model.widths, is_pretrained) if told else {}
        step = make_train_step(network, config, measure)
        step = jax.jit(step, donate_argnums=0, compiler_options=options)
        state = jax.device_put(create_state(variables, tx))
        compiled = compile_ahead("training step", step, state, batch)
        held = [state]
        del state, variables

        def call(batch: Batch) -> dict[str, Any]:
            held[0], metrics = compiled(held[0], batch)
            return metrics

        return call, batch

    return contender


def torch(compiled: bool, package: str = "torch_folder") -> Callable[[Path, int], Ready]:
    """Return PyTorch, channels last, on a GPU where there is one.

    Args:
        compiled: by torch.compile.
        package: module of `rivals` that makes the network.
    """

    def contender(folder: Path, threads: int) -> Ready:
        import torch

        from benchmarks.rivals.torch_training import Training

        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = True
        device = "cuda" if torch.cuda.is_available() else "cpu"
        network = importlib.import_module(f"benchmarks.rivals.{package}").network_of(folder)
        network = network.to(device, memory_format=torch.channels_last)
        batch = {name: torch.from_numpy(array) for name, array in np.load(folder / BATCH).items()}
        batch = {name: array.to(device) for name, array in batch.items()}
        config = json.loads((folder / CONFIG).read_text())
        return Training(network, config, compiled), batch

    return contender


def ours_evaluating(folder: Path, threads: int) -> Ready:
    """Return probabilities as the program's evaluation has them, of one view."""
    import jax
    from flax.traverse_util import unflatten_dict
    from ml_collections import ConfigDict

    from defect_jax.models.network import SegmentationNetwork
    from defect_jax.models.probabilities import make_probabilities
    from defect_jax.runtime.compilation import compile_ahead
    from defect_jax.runtime.compiler_options import compiler_options

    del threads
    config = ConfigDict(json.loads((folder / CONFIG).read_text()))
    with np.load(folder / WEIGHTS) as arrays:
        variables = jax.device_put(unflatten_dict(dict(arrays), sep="/"))
    network = SegmentationNetwork(**config.model)
    of_frames = make_probabilities(network, config.data_info, config.evaluation)
    batch = jax.device_put(dict(np.load(folder / BATCH)))
    jitted = jax.jit(of_frames, compiler_options=compiler_options())
    compiled = compile_ahead("evaluation", jitted, variables, batch["image"])
    return lambda batch: compiled(variables, batch["image"])._asdict(), batch


def torch_evaluating(compiled: bool) -> Callable[[Path, int], Ready]:
    """Return the same in PyTorch, channels last.

    Args:
        compiled: by torch.compile, parameters frozen: batch norm goes into the convolutions.
    """

    def contender(folder: Path, threads: int) -> Ready:
        import torch
        import torch._inductor.config as inductor

        from benchmarks.rivals.torch_folder import network_of

        torch.set_num_threads(threads)
        image = json.loads((folder / CONFIG).read_text())["data_info"]
        network = network_of(folder).eval().to(memory_format=torch.channels_last)
        inductor.freezing = True
        network = torch.compile(network, dynamic=False) if compiled else network
        batch = {name: torch.from_numpy(array) for name, array in np.load(folder / BATCH).items()}

        def call(batch: Batch) -> dict[str, Any]:
            with torch.no_grad():
                pixels = (batch["image"].permute(0, 3, 1, 2) - image["mean"]) / image["std"]
                outputs = network(pixels)
                mask = torch.sigmoid(outputs.mask_logits).mean(0).permute(0, 2, 3, 1)
                return {"mask": mask, "label": torch.sigmoid(outputs.label_logits)}

        return call, batch

    return contender


PLAIN, MEASURING, UNTOLD = "JAX", "JAX, measuring step", "JAX, compiler not told"
CONTENDERS: dict[str, Callable[[Path, int], Ready]] = {
    PLAIN: ours(measure=False),
    MEASURING: ours(measure=True),
    UNTOLD: ours(measure=False, told=False),
    "PyTorch, eager": torch(compiled=False),
    "PyTorch, torch.compile": torch(compiled=True),
    "segmentation_models.pytorch": torch(compiled=False, package="smp_network"),
}
OURS_EVALUATING = "JAX, evaluation"
EVALUATING = {
    OURS_EVALUATING: ours_evaluating,
    "PyTorch, eager, evaluation": torch_evaluating(compiled=False),
    "PyTorch, torch.compile, evaluation": torch_evaluating(compiled=True),
}
OURS = (PLAIN, MEASURING, UNTOLD, OURS_EVALUATING)
UNLIKE = ("segmentation_models.pytorch",)  # another network: its losses are its own


class Contender:
    """What the parent may ask for."""

    def __init__(self, name: str, folder: Path, threads: int):
        self.make = lambda: (CONTENDERS | EVALUATING)[name](folder, threads)
        self.step: Step | None = None
        self.batch: Batch = {}
        self.history: list[dict[str, float]] = []
        self.clock = CLOCKS["wall"]

    def ready(self, clock: str = "wall") -> float:
        """Compile, and take the first step; return seconds of a clock in CLOCKS."""
        self.clock = CLOCKS[clock]
        began = self.clock()
        self.step, self.batch = self.make()
        self.history.append(read(self.step(self.batch)))
        return self.clock() - began

    def run(self, calls: int) -> list[float]:
        """Return seconds of each step."""
        seconds = []
        for _ in range(calls):
            began = self.clock()
            self.history.append(read(self.step(self.batch)))
            seconds.append(self.clock() - began)
        return seconds

    def save(self, path: str) -> None:
        """Write what a further call returns."""
        np.savez(path, **{name: np.asarray(value) for name, value in self.step(self.batch).items()})

    def stream(self, calls: int) -> float:
        """Return seconds of a step where only the last one's losses are waited for, as in a run."""
        began = time.perf_counter()
        for _ in range(calls):
            metrics = self.step(self.batch)
        self.history.append(read(metrics))
        return (time.perf_counter() - began) / calls

    def losses(self) -> list[dict[str, float]]:
        """Return the losses of all steps so far."""
        return self.history


def read(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Wait for them; of a map the mean."""
    return {name: float(value.mean()) for name, value in metrics.items()}


def device_memory_mb() -> float | None:
    """Return the most memory of a GPU that this process's arrays have held; None on a CPU."""
    if "torch" in sys.modules:
        import torch

        return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None
    import jax

    statistics = jax.local_devices()[0].memory_stats() or {}
    highest = statistics.get("peak_bytes_in_use")
    return None if highest is None else highest / 1e6


def memory_mb() -> dict[str, float]:
    """Return the memory of this process, now and at most so far, in units of 10^6 bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"now": pages * resource.getpagesize() / 1e6, "highest": highest / 1e6}


def main() -> None:
    name, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    use_processors(threads)
    contender = Contender(name, folder, threads)
    functions = {
        name: getattr(contender, name) for name in ("ready", "run", "save", "stream", "losses")
    }
    functions["device_memory_mb"] = device_memory_mb
    serve(functions | {"versions": versions, "memory_mb": memory_mb})


if __name__ == "__main__":
    main()
