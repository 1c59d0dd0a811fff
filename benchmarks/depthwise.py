"""Milliseconds of the depthwise convolutions of EfficientNet-Lite0, beside XLA's own and PyTorch's.

    launch/module.sh benchmarks.depthwise --rival-python=rivals/bin/python

with the rivals' environment of `benchmarks.run`; without one PyTorch is left out. Each contender is
a process of its own, idle while another one measures; a figure is the lowest of all rounds, so that
what else the machine did counts least. The last row holds the sums over the layers of the network,
which has some of them twice or three times. The last line is all of it as JSON.
"""

import argparse
import json
import os
import sys
from typing import Any

from benchmarks.depthwise_contenders import BOTH, CONTENDERS, FORWARD, LAYERS, PLAIN, TIMES, TORCH
from benchmarks.machine import joined, machine
from benchmarks.turns import Failed, Program

Row = dict[str, dict[str, float]]  # contender -> what -> seconds


def measure(programs: dict[str, Program], layer: tuple[int, ...], given: argparse.Namespace) -> Row:
    """Return the lowest seconds of each contender for a layer."""
    for program in programs.values():
        program.ask("ready", layer=layer, batch=given.batch)
    lowest: Row = {name: {FORWARD: float("inf"), BOTH: float("inf")} for name in programs}
    for turn in range(given.rounds):
        for name, program in programs.items():
            if name == PLAIN and turn:  # a hundred times as long: one turn shows it
                continue
            found = program.ask("run", calls=1 if name == PLAIN else given.calls)
            lowest[name] = {what: min(lowest[name][what], found[what]) for what in found}
    return lowest


def line(words: str, row: Row) -> str:
    """Return a row of the table."""
    cells = [f"{1000 * row[name][what]:.1f}" for what in (FORWARD, BOTH) for name in row]
    return f"| {words} | {' | '.join(cells)} |"


def heading(names: list[str]) -> str:
    """Return the first lines of the table."""
    columns = [f"{name}, {what}, ms" for what in (FORWARD, BOTH) for name in names]
    return f"| maps, kernel, stride | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}"


def total(rows: list[Row]) -> Row:
    """Return the sums over the layers of the network."""
    return {
        name: {
            what: sum(n * row[name][what] for n, row in zip(TIMES, rows, strict=True))
            for what in (FORWARD, BOTH)
        }
        for name in rows[0]
    }


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rival-python", help="python of the rivals' environment")
    parser.add_argument("--batch", type=int, default=16, help="images")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every contender")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--calls", type=int, default=5, help="of each in each round")
    return parser.parse_args()


def main() -> None:
    # As launch/module.sh does, and for all alike.
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    given = arguments()
    report: dict[str, Any] = {"machine": machine(given.threads), "arguments": vars(given)}
    programs = {}
    for name in CONTENDERS:
        python = given.rival_python if name == TORCH else sys.executable
        if python:
            program = Program(python, "benchmarks.depthwise_contenders", [name, str(given.threads)])
            programs[name] = program
    print(heading(list(programs)), flush=True)
    rows = []
    for layer in LAYERS:
        rows.append(measure(programs, layer, given))
        size, channels, kernel, stride = layer
        words = f"{size}×{size}×{channels}, {kernel}×{kernel}, {stride}"
        print(line(words, rows[-1]), flush=True)
    print(line("the network", whole := total(rows)))
    compiling = {
        name: program.ask("compile_all", batch=given.batch)
        for name, program in programs.items()
        if name != TORCH
    }
    print("\nCompiling all, s: " + ", ".join(f"{n} {s:.1f}" for n, s in compiling.items()))
    report["machine"]["versions"] = joined({n: p.ask("versions") for n, p in programs.items()})
    for program in programs.values():
        program.close()
    report |= {"layers": LAYERS, "seconds": rows, "network": whole, "compiling_s": compiling}
    print(f"\n{json.dumps(report)}")


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"a contender failed: {failed}")
