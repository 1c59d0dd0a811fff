"""Seconds and memory of a training step, beside the same step in PyTorch.

    launch/module.sh benchmarks.step --rival-python=rivals/bin/python

with the rivals' environment of `benchmarks.run`. U-Net++ with scSE, four mask heads and a
classification head; losses, clipping, AdamW and averaged weights are those of `training.steps`,
written in plain PyTorch in benchmarks/rivals. All begin with the same weights, see the same batch,
and must have the same losses for `--alike` steps before anything is timed. Without dropout, whose
draws would differ, and in float32. A pretrained encoder, with `--encoder=efficientnet_lite0`, has
its weights of ImageNet, keeps its statistics and learns at a share of the rate. `--evaluate` times
probabilities of the batch in place of steps; they must agree by themselves.

Contenders run in turn, round by round, each in a process of its own that is idle meanwhile, so that
a machine that slows down slows down all of them; ratios are of the same round. `--clock=processor`
counts the processor's time, of all threads together: on a machine with other work. Memory is that
of the whole process, its libraries and the compiler included. The last line is all of it as JSON.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from benchmarks.machine import joined, machine
from benchmarks.random_batch import random_batch
from benchmarks.step_contenders import (
    BATCH,
    CONFIG,
    CONTENDERS,
    EVALUATING,
    OURS,
    UNLIKE,
    UNTOLD,
    WEIGHTS,
)
from benchmarks.turns import Failed, Program
from benchmarks.turns_table import summary, table, verdict
from defect_jax.configs.base import base
from defect_jax.models.encoders import PLAIN
from defect_jax.models.encoders.names import variables_of
from defect_jax.models.initialise import Variables, initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.pretrained.reading import read_weights
from defect_jax.training.stages import with_learnt

LOSSES = ("loss", "loss_segmentation", "loss_classification")
MOST_DIFFERENCE = 1e-4  # of a loss, as a share of it


def config_of(given: argparse.Namespace) -> ConfigDict:
    """Return the network and its batch."""
    config = ConfigDict(base().to_dict())
    config.model.widths = tuple(map(int, given.widths.split(",")))
    config.model.update(dropout=0.0, dtype="float32", decoder=given.decoder, encoder=given.encoder)
    config.model.label_head = "deepest"  # the rival has no branch that reads the masks
    config.data.size = tuple(map(int, given.size.split("x")))
    config.train.batch_size = given.batch
    config.data_info = {"channels": 1, "bit_depth": 8, "classes": ["defect"]}
    config.data_info.update({"mean": 0.5, "std": 0.29, "fingerprint": "random"})
    return config


def write(config: ConfigDict, folder: Path) -> None:
    """Write what all contenders read."""
    (folder / CONFIG).write_text(json.dumps(config.to_dict()))
    variables = initial_variables(SegmentationNetwork(**config.model), (1, *config.data.size, 1), 0)
    variables = with_learnt(variables, learnt(config))
    np.savez(folder / WEIGHTS, **flatten_dict(variables, sep="/"))
    np.savez(folder / BATCH, **random_batch(config))


def learnt(config: ConfigDict) -> Variables:
    """Return the variables that a pretrained encoder begins with."""
    encoder = config.model.encoder
    if encoder == PLAIN:
        return {}
    weights = read_weights(encoder, config.model.weights)
    of_encoder = variables_of(weights.tensors, encoder, 1, len(config.model.widths))
    return {collection: {"encoder": tree} for collection, tree in of_encoder.items()}


def check_same_probabilities(programs: dict[str, Program], folder: Path) -> None:
    """Print by how much the probabilities differ.

    Raises:
        SystemExit: by too much.
    """
    found = []
    for number, program in enumerate(programs.values()):
        program.ask("save", path=str(folder / f"outputs_{number}.npz"))
        found.append(np.load(folder / f"outputs_{number}.npz"))
    names = ("mask", "label")
    largest = max(np.abs(each[n] - found[0][n]).max() for each in found[1:] or found for n in names)
    spread = min(np.std(found[0][name]) for name in names)
    print(f"probabilities differ by {largest:.1e}; they spread by {spread:.1e}", flush=True)
    if largest > MOST_DIFFERENCE:
        sys.exit("the contenders do not compute the same")


def check_alike(histories: dict[str, list[dict[str, float]]], steps: int) -> None:
    """Print by how much the losses of the first steps differ.

    Raises:
        SystemExit: by too much.
    """
    first, *others = histories.values()
    largest = 0.0
    for other in others:
        for mine, theirs in zip(first[:steps], other[:steps], strict=True):
            largest = max(largest, *(abs(mine[name] / theirs[name] - 1) for name in LOSSES))
    print(f"losses of the first {steps} steps differ by {largest:.1e} of them", flush=True)
    if largest > MOST_DIFFERENCE:
        for name, history in histories.items():
            print(name, *history[:steps], sep="\n  ", file=sys.stderr)
        sys.exit("the contenders do not compute the same")


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Return the turns of all contenders, their memory and their versions."""
    usual = [name for name in CONTENDERS if name != UNTOLD]  # a step of it: three times as long
    usual = list(EVALUATING) if given.evaluate else usual
    wanted = given.only.split(";") if given.only else usual
    names = [name for name in wanted if name in OURS or given.rival_python]
    programs, ready_s = {}, {}
    for name in names:
        python = sys.executable if name in OURS else given.rival_python
        arguments = [name, str(folder), str(given.threads)]
        program = Program(python, "benchmarks.step_contenders", arguments)
        try:
            ready_s[name] = program.ask("ready", clock=given.clock)
        except Failed as failed:
            if name not in UNLIKE:
                raise
            print(f"{name}: left out ({failed})", flush=True)
            continue
        programs[name] = program
        program.ask("run", calls=given.alike - 1)
        print(f"{name}: first step after {ready_s[name]:.1f} s", flush=True)
    alike = {name: each for name, each in programs.items() if name not in UNLIKE}
    if given.evaluate:
        check_same_probabilities(alike, folder)
    else:
        check_alike({name: each.ask("losses") for name, each in alike.items()}, given.alike)
    turns: dict[str, list[list[float]]] = {name: [] for name in programs}
    for _ in range(given.rounds):
        for name, program in programs.items():
            turns[name].append(program.ask("run", calls=given.calls))
    memory = {name: program.ask("memory_mb") for name, program in programs.items()}
    versions = {name: program.ask("versions") for name, program in programs.items()}
    for program in programs.values():
        program.close()
    return {"turns": turns, "memory_mb": memory, "ready_s": ready_s, "versions": versions}


def memory_table(found: dict[str, Any]) -> str:
    """Return Markdown."""
    lines = [
        "| | memory now, MB | at most, MB | first step after, s |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, memory in found["memory_mb"].items():
        cells = f"{memory['now']:.0f} | {memory['highest']:.0f} | {found['ready_s'][name]:.1f}"
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rival-python", help="python of the rivals' environment")
    parser.add_argument("--only", help="contenders, with a semicolon between two")
    parser.add_argument("--encoder", default=PLAIN, help="or efficientnet_lite0")
    parser.add_argument("--decoder", default="unetplusplus", help="or unet")
    parser.add_argument("--evaluate", action="store_true", help="in place of training steps")
    parser.add_argument("--clock", default="wall", choices=("wall", "processor"))
    parser.add_argument("--widths", default="32,64,128,256,512", help="channels of each row")
    parser.add_argument("--size", default="256x256", help="height and width, px")
    parser.add_argument("--batch", type=int, default=4, help="images a step")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every contender")
    parser.add_argument("--alike", type=int, default=3, help="steps whose losses are compared")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--calls", type=int, default=2, help="steps of each in each round")
    return parser.parse_args()


def main() -> None:
    # As launch/module.sh does, and for all alike.
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    given = arguments()
    report: dict[str, Any] = {"machine": machine(given.threads), "arguments": vars(given)}
    print(json.dumps(report["machine"]), flush=True)
    with tempfile.TemporaryDirectory() as name:
        write(config_of(given), Path(name))
        found = measure(Path(name), given)
    cell = summary(found["turns"], given.batch, (*OURS, *UNLIKE))
    print(f"\n{table(cell)}\n\n{memory_table(found)}\n\n{verdict(cell, OURS)}")
    report["machine"]["versions"] = joined(found.pop("versions"))
    print(f"\n{json.dumps(report | {'summary': cell} | found)}")


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"a contender failed: {failed}")
