"""Training steps one by one, and several in one program (`lax.scan`): which is faster?

    launch/module.sh benchmarks.scanned

On small networks, where starting a program weighs most. The two take turns; the ratio is that of
the medians of a step, with its range over the rounds but for the three lowest and highest.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import step
from benchmarks.random_batch import random_batch
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.runtime.compiler_options import training_options
from defect_jax.training.optimizer import make_tx
from defect_jax.training.steps import create_state, make_train_step

CASES = (("4,8", "32x32", 2), ("4,8,16", "32x32", 8), ("8,16,32", "64x64", 8))
STEPS = 8  # in one program
ROUNDS = 30
OUTLIERS = 3  # at either end


def contenders(widths: str, size: str, batch: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return functions that take `STEPS` steps: one by one, and scanned."""
    config = step.config_of(argparse.Namespace(widths=widths, size=size, batch=batch))
    network, tx = SegmentationNetwork(**config.model), make_tx(config)
    variables = initial_variables(network, (1, *config.data.size, 1), 0)
    one, options = make_train_step(network, config, False), training_options(network.widths)
    batch_ = jax.device_put(random_batch(config))
    batches = jax.tree.map(lambda array: jnp.stack([array] * STEPS), batch_)
    single = jax.jit(one, donate_argnums=0, compiler_options=options)
    several = jax.jit(
        lambda state, batches: jax.lax.scan(one, state, batches),
        donate_argnums=0,
        compiler_options=options,
    )
    held = [jax.device_put(create_state(variables, tx)) for _ in range(2)]

    def one_by_one() -> Any:
        for _ in range(STEPS):
            held[0], metrics = single(held[0], batch_)
        return metrics

    def scanned() -> Any:
        held[1], metrics = several(held[1], batches)
        return metrics

    return one_by_one, scanned


def ms_a_step(take: Callable[[], Any]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(take())
    return 1000 * (time.perf_counter() - began) / STEPS


def main() -> None:
    print("| channels | px | batch | one by one, ms | scanned, ms | ratio |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for case in CASES:
        both = contenders(*case)
        turns = [[ms_a_step(take) for take in both] for _ in range(ROUNDS + 1)][1:]
        ratios = sorted(scanned / one for one, scanned in turns)[OUTLIERS:-OUTLIERS]
        times = [f"{statistics.median(own):.2f}" for own in zip(*turns, strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"| {' | '.join([*map(str, case), *times, ratio])} |", flush=True)


if __name__ == "__main__":
    main()
