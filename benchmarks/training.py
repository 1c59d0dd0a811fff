"""Training with its images, beside PyTorch's with its DataLoader.

    launch/module.sh benchmarks.training --rival-python=rivals/bin/python

with the rivals' environment of `benchmarks.predict` and opencv-python-headless. The network and the
step are those of `benchmarks.step`, whose losses are compared there; images and their changes are
those of `benchmarks.input_pipeline`. Each contender's own step on one batch that is there already
is timed beside it, and how long a step waits for its images.

Contenders run in turn, round by round, each in a process of its own that is idle meanwhile, but for
what its loaders have begun; ratios are of the same round. The last line is all of it as JSON.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import input_pipeline, step
from benchmarks.input_contenders import BATCH
from benchmarks.machine import joined, machine
from benchmarks.training_contenders import CONTENDERS, OURS
from benchmarks.turns import Failed, Program
from benchmarks.turns_table import summary, table, verdict

ONE_BATCH = ", one batch"


def write(folder: Path, given: argparse.Namespace) -> None:
    """Write what all contenders read: images, the network and its weights."""
    input_pipeline.write(folder, given.images, tuple(map(int, given.size.split("x"))))
    step.write(step.config_of(given), folder)


def started(folder: Path, given: argparse.Namespace) -> dict[str, Program]:
    """Return the contenders, compiled and with their first step taken."""
    wanted = given.only.split(";") if given.only else CONTENDERS
    programs = {}
    for name in wanted:
        if name != OURS and not given.rival_python:
            continue
        python = sys.executable if name == OURS else given.rival_python
        arguments = [name, str(folder), str(given.threads)]
        programs[name] = Program(python, "benchmarks.training_contenders", arguments)
        print(f"{name}: first step after {programs[name].ask('ready'):.1f} s", flush=True)
    return programs


def measure(programs: dict[str, Program], given: argparse.Namespace) -> dict[str, Any]:
    """Return the turns of all contenders but the first, with their images and on one batch."""
    turns: dict[str, list[list[float]]] = {}
    waited: dict[str, list[float]] = {}
    for number in range(given.rounds + 1):
        for name, program in programs.items():
            whole = program.ask("whole", steps=given.calls)
            one = program.ask("one_batch", steps=given.calls)
            if number:
                turns.setdefault(name, []).append(whole["seconds"])
                turns.setdefault(name + ONE_BATCH, []).append(one)
                share = 100 * sum(whole["waited"]) / sum(whole["seconds"])
                waited.setdefault(name, []).append(share)
    memory = {name: program.ask("memory_mb") for name, program in programs.items()}
    versions = {name: program.ask("versions") for name, program in programs.items()}
    for program in programs.values():
        program.close()
    return {"turns": turns, "waited_percent": waited, "memory_mb": memory, "versions": versions}


def waiting_table(found: dict[str, Any]) -> str:
    """Return Markdown."""
    lines = [
        "| | waiting for images, % of a step | memory at most, MB |",
        "| --- | ---: | ---: |",
    ]
    for name, shares in found["waited_percent"].items():
        share = f"{statistics.median(shares):.1f} ({min(shares):.1f} to {max(shares):.1f})"
        lines.append(f"| {name} | {share} | {found['memory_mb'][name]['highest']:.0f} |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rival-python", help="python of the rivals' environment")
    parser.add_argument("--only", help="contenders, with a semicolon between two")
    parser.add_argument("--widths", default="8,16,32,64,128", help="channels of each row")
    parser.add_argument("--size", default="128x128", help="height and width, px")
    parser.add_argument("--images", type=int, default=512, help="of an epoch")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every contender")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=6, help="steps of each in each round")
    given = parser.parse_args()
    given.batch = BATCH
    return given


def main() -> None:
    # As launch/module.sh does, and for all alike.
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    given = arguments()
    report: dict[str, Any] = {"machine": machine(given.threads), "arguments": vars(given)}
    print(json.dumps(report["machine"]), flush=True)
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), given)
        found = measure(started(Path(name), given), given)
    no_rivals = [name for name in found["turns"] if name == OURS or name.endswith(ONE_BATCH)]
    cell = summary(found["turns"], given.batch, no_rivals)
    print(f"\n{table(cell)}\n\n{waiting_table(found)}\n\n{verdict(cell, (OURS,))}")
    report["machine"]["versions"] = joined(found.pop("versions"))
    print(f"\n{json.dumps(report | {'summary': cell} | found)}")


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"a contender failed: {failed}")
