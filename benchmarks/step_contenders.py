"""A training step in ours and in PyTorch, each a program for `benchmarks.turns`.

The packages are imported by the function that needs them: the rivals' environment lacks ours.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.predict_contenders import versions
from benchmarks.turns import serve, use_processors

CONFIG, WEIGHTS, BATCH = "config.json", "weights.npz", "batch.npz"
Step = Callable[[], dict[str, float]]  # losses before it, and the gradient's norm


def ours(measure: bool) -> Callable[[Path, int], Step]:
    """The program's own step, jitted as `train.py` does; `measure`: also the gradients' norms."""

    def contender(folder: Path, threads: int) -> Step:
        import jax
        from flax.traverse_util import unflatten_dict

        from defect_jax import configuration
        from defect_jax.models.network import SegmentationNetwork
        from defect_jax.optimizer import make_tx
        from defect_jax.steps import create_state, make_train_step

        del threads  # XLA takes the processors that the process may use
        config = configuration.load(folder)
        with np.load(folder / WEIGHTS) as arrays:
            variables = unflatten_dict(dict(arrays), sep="/")
        network, tx = SegmentationNetwork(**config.model), make_tx(config)
        batch = jax.device_put(dict(np.load(folder / BATCH)))
        step = jax.jit(make_train_step(network, tx, config, measure), donate_argnums=0)
        state = jax.device_put(create_state(variables, tx))
        compiled = step.lower(state, batch).compile()
        held = [state]
        del state, variables

        def call() -> dict[str, float]:
            held[0], metrics = compiled(held[0], batch)
            return {name: float(value) for name, value in metrics.items()}

        return call

    return contender


def torch(compiled: bool) -> Callable[[Path, int], Step]:
    """PyTorch, channels last; `compiled`: by torch.compile."""

    def contender(folder: Path, threads: int) -> Step:
        import torch

        from benchmarks.rivals.torch_folder import network_of
        from benchmarks.rivals.torch_training import Training

        torch.set_num_threads(threads)
        config = json.loads((folder / CONFIG).read_text())
        network = network_of(folder).to(memory_format=torch.channels_last)
        batch = {name: torch.from_numpy(array) for name, array in np.load(folder / BATCH).items()}
        training = Training(network, config, compiled)
        return lambda: training(batch)

    return contender


CONTENDERS: dict[str, Callable[[Path, int], Step]] = {
    "JAX": ours(measure=False),
    "JAX, measuring step": ours(measure=True),
    "PyTorch, eager": torch(compiled=False),
    "PyTorch, torch.compile": torch(compiled=True),
}
OURS = ("JAX", "JAX, measuring step")


class Contender:
    """What the parent may ask for."""

    def __init__(self, name: str, folder: Path, threads: int):
        self.make = lambda: CONTENDERS[name](folder, threads)
        self.step: Step | None = None
        self.history: list[dict[str, float]] = []

    def ready(self) -> float:
        """Compiles, and takes the first step; returns seconds."""
        began = time.perf_counter()
        self.step = self.make()
        self.history.append(self.step())
        return time.perf_counter() - began

    def run(self, calls: int) -> list[float]:
        """Seconds of each step."""
        seconds = []
        for _ in range(calls):
            began = time.perf_counter()
            self.history.append(self.step())
            seconds.append(time.perf_counter() - began)
        return seconds

    def losses(self) -> list[dict[str, float]]:
        """Of all steps so far."""
        return self.history


def memory_mb() -> dict[str, float]:
    """Of this process, now and at most so far, in units of 10^6 bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"now": pages * resource.getpagesize() / 1e6, "highest": highest / 1e6}


def main() -> None:
    name, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    use_processors(threads)
    contender = Contender(name, folder, threads)
    functions = {name: getattr(contender, name) for name in ("ready", "run", "losses")}
    serve(functions | {"versions": versions, "memory_mb": memory_mb})


if __name__ == "__main__":
    main()
