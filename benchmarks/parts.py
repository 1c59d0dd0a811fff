"""What the parts of LPC-Net cost: a training step and an image at use, over the network without.

    launch/module.sh benchmarks.parts

The network of configs/lpcnet_magnetic_tile.py:cpu; on a GPU give `--variant=`, the full size. All
programs are compiled first and then run in turn, round by round, so that a machine that slows down
slows down all of them; ratios are of the same round.
"""

import statistics
import time
from collections.abc import Sequence
from typing import Any

import jax
from absl import app, flags
from ml_collections import ConfigDict

from benchmarks.random_batch import random_batch
from defect_jax.configs import lpcnet_magnetic_tile
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import probabilities
from defect_jax.runtime.compiler_options import compiler_options, training_options
from defect_jax.training.optimizer import make_tx
from defect_jax.training.stages import first_stage, is_frozen
from defect_jax.training.steps import create_state, make_train_step

VARIANT = flags.DEFINE_string("variant", "cpu", "Of the config; empty: full size.")
ROUNDS = flags.DEFINE_integer("rounds", 7, "Timed rounds, after one that is not.")
PLAIN = {
    "model": {"localisation": "none", "embedding": False, "pixel_confidence": "none"},
    "loss": {"defect_weight": 0.0, "weight_localised": False},
    "train": {"localisation_steps": 0},
}
BACKBONE = {"model": {"localisation": "backbone"}, "train": {"localisation_steps": 2}}
NAMES = {
    "no part": [],
    "+ pixel weights of localisation": [
        BACKBONE,
        {"loss": {"defect_weight": 4.0, "weight_localised": True}},
    ],
    "+ embedding of localisation": [BACKBONE, {"model": {"embedding": True}}],
    "+ pixel confidence": [{"model": {"pixel_confidence": "learnt"}}],
    "all parts": None,
}


def main(_: Sequence[str]) -> None:
    """Compile, run and print the table."""
    programs: dict[str, list[tuple[Any, tuple[Any, ...]]]] = {}
    for name, changes in NAMES.items():
        config = changed(changes)
        programs[name] = list(compiled(config))
        print(f"compiled {name}", flush=True)
    programs["stage one"] = list(compiled(first_stage(changed(None))))
    seconds: dict[str, list[list[float]]] = {name: [[], []] for name in programs}
    for number in range(ROUNDS.value + 1):
        for name, pair in programs.items():
            for kind, (program, arguments) in enumerate(pair):
                began = time.monotonic()
                jax.block_until_ready(program(*arguments))
                if number:
                    seconds[name][kind].append(time.monotonic() - began)
    print_table(seconds, changed(None).train.batch_size)


def changed(changes: list[dict[str, Any]] | None) -> ConfigDict:
    """Return the config with all parts (None), or with no part and these changes."""
    config = lpcnet_magnetic_tile.get_config(VARIANT.value).copy_and_resolve_references()
    config.unlock()
    config.data_info = {"mean": 0.4, "std": 0.1, "channels": 1}
    for groups in [] if changes is None else [PLAIN, *changes]:
        for group, fields in groups.items():
            config[group].update(fields)
    return config


def compiled(config: ConfigDict) -> Any:
    """Yield the training step and the prediction of a batch, each with its arguments."""
    network = SegmentationNetwork(**config.model, localisation_frozen=is_frozen(config))
    tx = make_tx(config)
    variables = initial_variables(network, (1, *config.data.size, 1), 0)
    state, batch = jax.device_put((create_state(variables, tx), random_batch(config)))

    def predict(average: Any, image: Any) -> Any:
        return probabilities(network.apply(average, image, train=False))

    step = make_train_step(network, config, measure=False)
    image = batch["image"]
    for function, arguments, options in (
        (step, (state, batch), training_options(config.model.widths)),
        (predict, (state.ema, image), compiler_options()),
    ):
        jitted = jax.jit(function, compiler_options=options)
        yield jitted.lower(*arguments).compile(), arguments


def print_table(seconds: dict[str, list[list[float]]], batch_size: int) -> None:
    """Print median seconds of a step and milliseconds of an image, with ratios to the first row."""
    print(f"{jax.devices()[0].device_kind}, {jax.device_count()} device(s), jax {jax.__version__}")
    print("| | training step, s | ratio | an image at use, ms | ratio |")
    print("| --- | ---: | ---: | ---: | ---: |")
    first = seconds["no part"]
    for name, kinds in seconds.items():
        cells = []
        for scale, times, base in zip((1.0, 1000.0 / batch_size), kinds, first, strict=True):
            ratio = statistics.median(t / b for t, b in zip(times, base, strict=True))
            cells += [f"{scale * statistics.median(times):.3g}", f"{ratio:.2f}"]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    app.run(main)
