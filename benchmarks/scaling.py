"""The training step on 8 to 512 TPU chips, compiled without any: memory, operations, bytes sent.

    launch/module.sh benchmarks.scaling --topologies=v5e:2x4,v5e:8x8,v5e:16x16*2

libtpu compiles for chips that are not there; an environment with the extra `tpu` has it. `*2` means
two slices, joined by the data-center network. Each topology is compiled with parameters on every
chip ("data") and sharded ("fsdp"), as `config.mesh` has it. From the compiled program come its
memory, its operations and its collectives; seconds and efficiency are those of a simple model
(`benchmarks.scaling_model`) with assumptions that are options here. Nothing is run.

Operations and bytes in a loop count once only; `loops` says how many there are. The options of
`defect_jax.runtime.compiler_options` keep the compiler from making any of sharded kernels.

A program takes minutes to compile, so what it said is kept in `--keep` and read from there the next
time. `--effort=0` compiles as for a run, which takes five times as long as the default. `--fit`
looks for the largest batch and the largest image of one chip. The last line is all of it as JSON.
"""

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.machine import machine
from benchmarks.scaling_model import (
    CHIPS,
    Assumed,
    collectives_table,
    markdown,
    predicted,
    predictions_table,
    programs_table,
)
from benchmarks.scaling_programs import Program, kept

NO_LIBTPU = "needs libtpu, the TPU compiler: pip install -r launch/requirements-tpu.txt"


def programs_of(given: argparse.Namespace) -> Iterator[Program]:
    """Yield those of all topologies that fit, with what the model says of them."""
    assumed = Assumed(given.share_of_peak, given.latency_us / 1e6, given.network_latency_us / 1e6)
    for topology in given.topologies:
        for fsdp in given.fsdp:
            program = kept(topology, fsdp, given.batch, given)
            if program["fits"]:
                yield program | {"predicted": predicted(program, assumed)}
            else:
                print(f"{program['name']} does not fit: {program['message']}", flush=True)


def fitting(chip: str, given: argparse.Namespace) -> Iterator[list[str]]:
    """Yield rows: the largest batch at `given.size` that fits one chip, the largest square
    image."""
    yield largest(chip, [(given.size, batch) for batch in given.fit_batches], given)
    yield largest(chip, [((side, side), 1) for side in given.fit_sides], given)


def largest(chip: str, cases: list[tuple[tuple[int, int], int]], given: argparse.Namespace):
    """Return a row: the last of rising sizes and batches that fits, the first that does not, and
    why."""
    fits = "none"
    for size_px, batch in cases:
        case = argparse.Namespace(**vars(given) | {"size": size_px})
        program = kept(f"{chip}:1x1", 1, batch, case)
        text = f"{batch} of {size_px[0]}x{size_px[1]}"
        if not program["fits"]:
            return [chip, fits, text, program["message"]]
        used = program["memory"]["arguments"] + program["memory"]["scratch"]
        fits = f"{text} ({used / 1e9:.1f} GB)"
    return [chip, fits, "", "all that were tried fit"]


def numbers(text: str, between: str = ",") -> tuple[int, ...]:
    return tuple(map(int, text.split(between)))


def named(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in filter(None, text.split(",")))


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("--topologies", type=lambda text: text.split(","), default="v5e:2x4,v5e:8x8,v5e:16x16*2")
    add("--fsdp", type=numbers, default="1,8", help="sizes of that axis, with commas")
    add("--batch", type=int, default=8, help="images of each chip")
    add("--size", type=lambda text: numbers(text, "x"), default="640x256", help="px")
    add("--widths", type=numbers, default="32,64,128,256,512", help="channels of each row")
    add("--share-of-peak", type=float, default=0.2, help="assumed: of the peak, while computing")
    add("--latency-us", type=float, default=1.0, help="assumed: of a hop between neighbours")
    add("--network-latency-us", type=float, default=50.0, help="assumed: between two slices")
    add("--effort", type=float, default=-1.0, help="of the compiler: -1 least, 0 its own default")
    add("--options", type=named, default="", help="for the compiler: NAME=VALUE, with commas")
    add("--fit", default="", help="chips of which to look for the most that fits: v5e,v6e")
    add("--fit-batches", type=numbers, default="8,16,32")
    add("--fit-sides", type=numbers, default="1024,1280,1536,1792", help="of square images, px")
    add("--keep", default="runs/scaling", help="folder of what was compiled")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    if importlib.util.find_spec("libtpu") is None:
        print(NO_LIBTPU, file=sys.stderr)
        sys.exit(2)
    report: dict[str, Any] = {"machine": machine(os.cpu_count()), "arguments": vars(given)}
    report["chips"] = {name: chip._asdict() for name, chip in CHIPS.items()}
    programs = list(programs_of(given))
    for table in (programs_table, collectives_table, predictions_table):
        print(f"\n{table(programs)}")
    fits = [row for chip in filter(None, given.fit.split(",")) for row in fitting(chip, given)]
    if fits:
        print("\n" + markdown("chip | fits (arguments and scratch) | does not | because", fits))
    print(f"\n{json.dumps(report | {'programs': programs, 'fits': fits})}")


if __name__ == "__main__":
    main()
