"""Seconds of a step from what its compiled program computes and sends: a model, no measurement.

A chip alone takes the longer of two: operations / (peak x an assumed share of it), and what its
operations take from memory or from each other, by the compiler's count, / the memory's bandwidth:
that count is high, since part of it never leaves the chip. Sending goes around rings: an
all-reduce of b bytes over n chips takes 2 (n - 1) / n b / bandwidth, a gather or a scatter half of
that, and each hop an assumed time. Between slices each chip sends over the network cards of its
host. Nothing overlaps, or all does: efficiency is between. Small slices have no links around, so
that their rings are slower than this.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.collectives import BETWEEN_SLICES, Collective, counted


class Chip(NamedTuple):
    """What its maker states."""

    flops_per_s: float  # bfloat16
    memory_bytes: float
    memory_bytes_per_s: float
    links_bytes_per_s: float  # of all four links together, in one direction
    host_bytes_per_s: float  # of a host's network cards, between slices
    host_chips: int


# Cloud TPU documentation, pages "TPU v5e" and "TPU v6e". Links: the pages state 400 and 800 GB/s
# in both directions together, and 51.2 and 102.4 TB/s of all-reduce for 256 chips: half of that a
# chip. Network: two cards of 100 Gbit/s, four of 200 Gbit/s a host.
CHIPS = {
    "v5e": Chip(197e12, 16e9, 819e9, 200e9, 25e9, 8),
    "v6e": Chip(918e12, 32e9, 1638e9, 400e9, 100e9, 8),
}


class Assumed(NamedTuple):
    """What nobody measured."""

    share_of_peak: float
    hop_s: float  # between two neighbours
    network_hop_s: float  # of a message between slices


def sending_s(each: Collective, chip: Chip, assumed: Assumed) -> float:
    """Return the time of one collective that has the links to itself; chips of a host share its
    network."""
    twice = each.kind in ("all-reduce", BETWEEN_SLICES)
    others = 1.0 if each.kind == "collective-permute" else (each.group - 1) / each.group
    sent_bytes = (1 + twice) * others * each.size_bytes
    if each.kind == BETWEEN_SLICES:
        return chip.host_chips * sent_bytes / chip.host_bytes_per_s + assumed.network_hop_s
    hops = (1 + twice) * 2 * math.ceil(math.sqrt(each.group) - 1)  # around a square
    return sent_bytes / chip.links_bytes_per_s + hops * assumed.hop_s


def predicted(program: Mapping[str, Any], assumed: Assumed) -> dict[str, float]:
    """Return seconds of a step, and the efficiency: one chip's time over this, for as much each."""
    chip = CHIPS[program["chip"]]
    computing_s = program["flops"] / (chip.flops_per_s * assumed.share_of_peak)
    none = assumed._replace(hop_s=0.0, network_hop_s=0.0)
    collectives = [Collective(*each) for each in program["collectives"]]
    bytes_s = sum(sending_s(each, chip, none) for each in collectives)
    sends_s = sum(sending_s(each, chip, assumed) for each in collectives)
    memory_s = program["accessed_bytes"] / chip.memory_bytes_per_s
    alone_s = max(computing_s, memory_s)
    slowest_s, fastest_s = alone_s + sends_s, max(alone_s, sends_s)
    return {
        "computing_s": computing_s,
        "memory_s": memory_s,
        "bytes_s": bytes_s,
        "hops_s": sends_s - bytes_s,
        "step_s": slowest_s,
        "efficiency_least": alone_s / slowest_s,
        "efficiency_most": alone_s / fastest_s,
        "images_per_s": program["chips"] * program["batch_per_chip"] / slowest_s,
    }


def markdown(header: str, rows: Sequence[Sequence[str]]) -> str:
    """Return a table; numbers stand on the right."""
    names = header.split(" | ")
    lines = [f"| {header} |", "| --- |" + " ---: |" * (len(names) - 1)]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def programs_table(programs: Sequence[Mapping[str, Any]]) -> str:
    """Return the memory of a chip and its operations."""
    header = "program | chips | state, MB | batch, MB | scratch, MB | code, MB | of memory, %"
    header += " | loops | TFLOP a chip | compiled in, s"
    return markdown(header, [program_row(each) for each in programs])


def program_row(each: Mapping[str, Any]) -> list[str]:
    memory, whole = each["memory"], CHIPS[each["chip"]].memory_bytes
    parts = [memory[name] / 1e6 for name in ("state", "batch", "scratch", "code")]
    share = 100e6 * sum(parts) / whole
    sizes = [f"{part:.1f}" for part in parts]
    last = [
        f"{share:.0f}",
        str(each["loops"]),
        f"{each['flops'] / 1e12:.3f}",
        f"{each['compile_s']:.0f}",
    ]
    return [each["name"], str(each["chips"]), *sizes, *last]


def collectives_table(programs: Sequence[Mapping[str, Any]]) -> str:
    """Return what is sent, by kind and size of the group."""
    rows = []
    for each in programs:
        found = counted([Collective(*one) for one in each["collectives"]])
        for kind, sums in found.items():
            rows.append([each["name"], kind, str(sums["number"]), f"{sums['bytes'] / 1e6:.3f}"])
    return markdown("program | collective x group | number | MB, together", rows)


def predictions_table(programs: Sequence[Mapping[str, Any]]) -> str:
    """Return what the model says.

    The last column counts what a larger program computes more, too: images a second and chip,
    over those of the first program for the same kind of chip.
    """
    header = "program | chips | computing, ms | its memory, ms | bytes, ms | hops, ms"
    header += " | efficiency, %, without and with overlap | images a second, without"
    header += " | of the first's, a chip, %"
    rows, firsts = [], {}
    for each in programs:
        found = each["predicted"]
        names = ("computing_s", "memory_s", "bytes_s", "hops_s")
        spent = [f"{1e3 * found[name]:.3f}" for name in names]
        shares = [f"{100 * found[f'efficiency_{name}']:.1f}" for name in ("least", "most")]
        a_chip = found["images_per_s"] / each["chips"]
        first = firsts.setdefault(each["chip"], a_chip)
        last = [" to ".join(shares), f"{found['images_per_s']:.0f}"]
        last.append(f"{100 * a_chip / first:.0f}")
        rows.append([each["name"], str(each["chips"]), *spent, *last])
    return markdown(header, rows)
