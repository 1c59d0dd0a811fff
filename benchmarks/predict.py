"""Images a second and latency of a network in use, beside the same network in PyTorch.

    python3 -m venv rivals
    rivals/bin/pip install torch==2.14.1 onnx==1.23.2 onnxscript==0.7.2 numpy
    launch/module.sh benchmarks.predict --rival-python=rivals/bin/python

From bytes to decisions, on the CPU: ours in Python, as StableHLO and as ONNX; PyTorch's eager and
compiled (channels last, parameters frozen), and as the ONNX file that it writes, under the same
onnxruntime as ours. Images are 640x256 px, which is the size that the network sees, so that
nothing has to be resampled: the rivals cannot; ours look at the size of each image and do the
size rule all the same. All must decide alike before anything is timed.

Without `--workdir` the networks are a U-Net++ of full width and one of a quarter, with scSE, four
mask heads, a classification head and random weights, which change no time. Contenders run in turn,
round by round, each in a process of its own that is idle meanwhile, so that a machine that slows
down slows down all of them; ratios are of the same round. A batch that would take the slowest one
longer than `--seconds` is run once by each, in a process that has ended before the next begins: two
such batches need not fit into memory. The last line is all of it as JSON.

torch.compile needs a C++ compiler, and minutes. Leave the machine alone meanwhile.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import predict_networks as networks
from benchmarks.machine import joined, machine
from benchmarks.predict_contenders import CONTENDERS, IN_RIVALS_PYTHON, OURS, OUTPUTS
from benchmarks.turns import Failed, Program
from benchmarks.turns_table import summary, table, verdict

WIDTHS = "32,64,128,256,512 8,16,32,64,128"
ROUNDS = 4
MOST_DIFFERENCE = 1e-4  # of a probability
MOST_PIXELS = 1e-4  # share of the mask's, of which some are at the very threshold
Turns = dict[str, list[list[float]]]  # contender -> seconds of each call of each of its turns


class Bench:
    """One network's folder and how it is measured."""

    def __init__(self, folder: Path, given: argparse.Namespace):
        self.folder, self.given = folder, given
        self.versions: dict[str, dict[str, str]] = {}
        self.image_s: dict[str, float] = {}  # at the batch that was measured last
        self.names = [name for name in CONTENDERS if given.rival_python or self.is_ours(name)]

    def is_ours(self, name: str) -> bool:
        """Return whether it needs nothing from the rivals' environment."""
        return name not in IN_RIVALS_PYTHON and "PyTorch" not in name

    def start(self, name: str, batch: int) -> Program:
        """Start a contender, compiled for this batch."""
        python = self.given.rival_python if name in IN_RIVALS_PYTHON else sys.executable
        arguments = [name, str(self.folder), str(self.given.threads)]
        program = Program(python, "benchmarks.predict_contenders", arguments)
        seconds = program.ask("ready", batch=batch)
        self.versions[name] = program.ask("versions")
        print(f"{name}, batch {batch}: ready in {seconds:.1f} s", flush=True)
        return program

    def measure(self, batch: int) -> Turns:
        """Return seconds of every call of this batch."""
        slowest = batch * max(self.image_s.values(), default=0.0)
        turns = self.one_by_one(batch) if slowest > self.given.seconds else self.in_turn(batch)
        self.check_alike()
        self.image_s = {name: np.median(sum(each, [])) / batch for name, each in turns.items()}
        return turns

    def one_by_one(self, batch: int) -> Turns:
        """Return one call each, where there is no room for several programs nor time for several
        calls."""
        turns: Turns = {}
        for name in self.names:
            program = self.start(name, batch)
            turns[name] = [program.ask("run", calls=1)]
            program.ask("save", path=str(self.outputs_of(name)))
            program.close()
        return turns

    def in_turn(self, batch: int) -> Turns:
        """Give each its turn in rounds, of as many calls as its share of the time allows."""
        programs = {name: self.start(name, batch) for name in self.names}
        calls_s = {}
        for name, program in programs.items():
            program.ask("run", calls=1)
            (calls_s[name],) = program.ask("run", calls=1)
            program.ask("save", path=str(self.outputs_of(name)))
        rounds = int(np.clip(self.given.seconds / max(calls_s.values()), 1, ROUNDS))
        turns: Turns = {name: [] for name in programs}
        for _ in range(rounds):
            for name, program in programs.items():
                calls = max(1, int(self.given.seconds / rounds / calls_s[name]))
                turns[name].append(program.ask("run", calls=calls))
        for program in programs.values():
            program.close()
        return turns

    def outputs_of(self, name: str) -> Path:
        return self.folder / f"{name}.npz"

    def check_alike(self) -> None:
        """Print by how much the contenders differ.

        Raises:
            SystemExit: by too much.
        """
        wanted = dict(np.load(self.outputs_of(self.names[0])))
        largest, pixels = 0.0, 0.0
        for name in self.names[1:]:
            got = dict(np.load(self.outputs_of(name)))
            for output in ("probability", "score", "mask_score"):
                largest = max(largest, float(np.abs(got[output] - wanted[output]).max()))
            pixels = max(pixels, float((got["mask"] != wanted["mask"]).mean()))
            assert list(got) == list(OUTPUTS)
        marked = float((wanted["mask"] > 0).mean())
        print(
            f"largest difference of a probability {largest:.1e}; of the masks, which mark "
            f"{marked:.0%} of the pixels, {pixels:.1e}",
            flush=True,
        )
        if largest > MOST_DIFFERENCE or pixels > MOST_PIXELS:
            sys.exit("the contenders do not compute the same")


def benches(given: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Bench]]:
    """Yield each network's name and bench."""
    made = {"trained": lambda: networks.trained(given.workdir)} if given.workdir else {}
    for widths in () if given.workdir else given.widths.split():
        made[widths] = lambda widths=widths: networks.random([int(w) for w in widths.split(",")])
    for number, make in enumerate(made.values()):
        inside = folder / str(number)
        inside.mkdir()
        found = make()
        networks.write(found, inside)
        largest = max(map(int, given.batches.split(",")))
        np.save(inside / "images.npy", networks.images(found.config, largest))
        if given.rival_python:
            command = [given.rival_python, "-m", "benchmarks.rivals.torch_folder", str(inside)]
            subprocess.run(command, check=True, capture_output=True)
        height, width = found.config.data.size
        widths = ", ".join(map(str, found.config.model.widths))
        yield f"{found.config.model.decoder} {widths}; {height}x{width} px", Bench(inside, given)


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rival-python", help="python of the rivals' environment")
    parser.add_argument("--workdir", help="of a trained network; random ones without it")
    parser.add_argument("--widths", default=WIDTHS, help="of random networks, one after the other")
    parser.add_argument("--batches", default="1,32", help="images a call, one after the other")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every contender")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each figure, about")
    return parser.parse_args()


def main() -> None:
    # As launch/module.sh does, and for all alike.
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    given = arguments()
    report: dict[str, Any] = {"machine": machine(given.threads), "networks": {}}
    print(json.dumps(report["machine"]), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, bench in benches(given, Path(folder)):
            report["networks"][name] = cells = {}
            for batch in map(int, given.batches.split(",")):
                print(f"\n{name}, batch {batch}", flush=True)
                turns = bench.measure(batch)
                cells[batch] = summary(turns, batch, OURS)
                print(f"\n{table(cells[batch])}\n\n{verdict(cells[batch], OURS)}", flush=True)
            report["machine"]["versions"] = joined(bench.versions)
    print(f"\n{json.dumps(report)}")


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"a contender failed: {failed}")
