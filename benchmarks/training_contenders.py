"""Whole training in ours and in PyTorch, images included: programs for `benchmarks.turns`.

Each joins a step of `step_contenders` and the batches of `input_contenders`.
"""

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import input_contenders, step_contenders
from benchmarks.input_contenders import Batches, Epoch
from benchmarks.predict_contenders import versions
from benchmarks.step_contenders import Batch, Ready, Step, memory_mb, read
from benchmarks.turns import serve, use_processors

OURS = "JAX"
Parts = tuple[Callable[[Path, int], Ready], Callable[[Path], Epoch]]
CONTENDERS: dict[str, Parts] = {
    OURS: (step_contenders.ours(measure=False), input_contenders.ours()),
    **{
        f"PyTorch, {workers} workers": (
            step_contenders.torch(compiled=False),
            input_contenders.torch(workers),
        )
        for workers in (0, 1, 2)
    },
}


class Contender:
    """What the parent may ask for."""

    def __init__(self, name: str, folder: Path, threads: int):
        make_step, make_epoch = CONTENDERS[name]
        self.make_step = lambda: make_step(folder, threads)
        self.make_epoch = lambda: make_epoch(folder)
        self.step: Step | None = None
        self.batch: Batch = {}
        self.batches: Batches = iter(())

    def ready(self) -> float:
        """Compile, open the files, and take the first step on images; return seconds."""
        began = time.perf_counter()
        self.step, self.batch = self.make_step()
        epoch = self.make_epoch()
        self.batches = itertools.chain.from_iterable(map(epoch, itertools.count()))
        read(self.step(next(self.batches)))
        return time.perf_counter() - began

    def whole(self, steps: int) -> dict[str, list[float]]:
        """Return seconds of each step with its images, and how many of them it waited for those."""
        found: dict[str, list[float]] = {"seconds": [], "waited": []}
        for _ in range(steps):
            began = time.perf_counter()
            batch = next(self.batches)
            found["waited"].append(time.perf_counter() - began)
            read(self.step(batch))
            found["seconds"].append(time.perf_counter() - began)
        return found

    def one_batch(self, steps: int) -> list[float]:
        """Return seconds of each step on one batch that is there."""
        seconds = []
        for _ in range(steps):
            began = time.perf_counter()
            read(self.step(self.batch))
            seconds.append(time.perf_counter() - began)
        return seconds


def main() -> None:
    name, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    use_processors(threads)
    contender = Contender(name, folder, threads)
    functions = {name: getattr(contender, name) for name in ("ready", "whole", "one_batch")}
    serve(functions | {"versions": versions, "memory_mb": memory_mb})


if __name__ == "__main__":
    main()
