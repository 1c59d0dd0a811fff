"""Training as a run does it, images included: how long does each step wait for its batch?

    launch/module.sh benchmarks.waiting --config=configs/synthetic.py:cpu

Three kinds of rounds take turns: whole steps from the data on, the same step again and again on one
batch (no data), and the batches alone (no model), at the config's own threads and cache. The share
of time that a whole step spends waiting for its batch is measured inside it. The last line is all
of it as JSON.
"""

import argparse
import importlib
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict

from benchmarks.machine import machine
from benchmarks.turns_table import ratio
from defect_jax.data.pipeline.batches import training_batches
from defect_jax.data.pipeline.decoded_cache import with_decoded_cache
from defect_jax.data.prepare.data_info import data_info
from defect_jax.data.prepare.prepare import prepare
from defect_jax.distributed.sharding import make_mesh, to_global
from defect_jax.training import train
from defect_jax.training.loop import smaller
from defect_jax.training.programs import MEASURING_STEP, STEP, make_programs
from defect_jax.workdir import run_config

WHOLE, NO_DATA, NO_MODEL = "whole", "no data", "no model"


def config_of(given: argparse.Namespace) -> ConfigDict:
    """Return the config file's, with the fields that were given as path=value."""
    path, _, variant = given.config.partition(":")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    config = module.get_config(variant).copy_and_resolve_references()
    for field in given.fields:
        name, _, value = field.partition("=")
        config.update_from_flattened_dict({name: type(_at(config, name))(value)})
    config.train.steps = 10**6  # the batches do not end
    return config


def _at(config: ConfigDict, name: str) -> Any:
    for part in name.split("."):
        config = config[part]
    return config


class Run:
    """A training run that can be stepped through.

    Attributes:
        config: resolved.
    """

    def __init__(self, config: ConfigDict):
        prepared = with_decoded_cache(prepare(config.data), config.data, ("train",))
        self.config = run_config.resolve(config, data_info(prepared, config.model.num_classes))
        mesh = make_mesh(self.config.mesh.data, self.config.mesh.fsdp)
        network, tx = train.make_network(self.config), train.make_tx(self.config)
        self._state, shardings = train.initial_state(network, tx, self.config, mesh, {})
        rows = range(self.config.train.batch_size)
        self.batches: Iterator[Any] = training_batches(
            prepared.splits["train"], self.config, rows, to_global(mesh), 0
        )
        self._kept = next(self.batches)
        programs = make_programs(network, self.config, mesh, shardings)
        advice = partial(smaller, self.config, mesh.size)
        compiled = programs.compiled(self._state, self._kept, advice)
        self._step = compiled.get(STEP) or compiled[MEASURING_STEP]

    def whole(self, steps: int) -> tuple[float, float]:
        """Return seconds of some steps, and how many of these went into waiting for batches."""
        began, waited = time.perf_counter(), 0.0
        for _ in range(steps):
            asked = time.perf_counter()
            batch = next(self.batches)
            waited += time.perf_counter() - asked
            self._state, metrics = self._step(self._state, batch)
            jax.block_until_ready(metrics)
        return time.perf_counter() - began, waited

    def no_data(self, steps: int) -> tuple[float, float]:
        """Return the same, always on one batch."""
        began = time.perf_counter()
        for _ in range(steps):
            self._state, metrics = self._step(self._state, self._kept)
            jax.block_until_ready(metrics)
        return time.perf_counter() - began, 0.0

    def no_model(self, steps: int) -> tuple[float, float]:
        """Return batches alone; those that are ready already are taken before."""
        for _ in range(8):
            jax.block_until_ready(next(self.batches))
        began = time.perf_counter()
        for _ in range(steps):
            jax.block_until_ready(next(self.batches))
        seconds = time.perf_counter() - began
        return seconds, seconds


def measure(given: argparse.Namespace, run: Run) -> dict[str, list[tuple[float, float]]]:
    """Return the kind -> seconds and waiting of a step, round by round; the first round is not
    counted."""
    kinds: dict[str, Callable[[int], tuple[float, float]]] = {
        WHOLE: run.whole,
        NO_DATA: run.no_data,
        NO_MODEL: run.no_model,
    }
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for number in range(given.rounds + 1):
        for kind, steps_of in kinds.items():
            seconds, waited = steps_of(given.steps)
            if number:
                found[kind].append((seconds / given.steps, waited / given.steps))
    return found


def table(found: dict[str, list[tuple[float, float]]], batch: int) -> str:
    """Return Markdown."""
    lines = ["| | ms a step | images/s | time over no data |", "| --- | ---: | ---: | ---: |"]
    for kind, rounds in found.items():
        seconds = [each for each, _ in rounds]
        over = [own / other for own, (other, _) in zip(seconds, found[NO_DATA], strict=True)]
        row = {"rounds": len(over), "ratio": statistics.median(over)}
        row |= {"ratio_lowest": min(over), "ratio_highest": max(over)}
        median = statistics.median(seconds)
        lines.append(f"| {kind} | {1000 * median:.1f} | {batch / median:.1f} | {ratio(row)} |")
    shares = sorted(100 * waited / seconds for seconds, waited in found[WHOLE])
    share = f"{statistics.median(shares):.1f} % ({shares[0]:.1f} to {shares[-1]:.1f})"
    return "\n".join([*lines, "", f"Waiting for batches: {share} of a whole step."])


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--config", default="configs/synthetic.py:cpu")
    parser.add_argument("--steps", type=int, default=20, help="of each kind in each round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("fields", nargs="*", help="of the config, as data.threads=2")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    flags.FLAGS.mark_as_parsed()  # grain reads absl's where there are loader processes
    run = Run(config_of(given))
    found = measure(given, run)
    print(f"\n{table(found, run.config.train.batch_size)}\n")
    report = {"machine": machine(os.cpu_count()), "arguments": vars(given), "rounds": found}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
