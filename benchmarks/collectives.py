"""What a compiled program sends between its devices, read from its text (optimized HLO).

>>> line = "%a.1 = (f32[32]{0}, bf16[3,8]{1,0}) all-reduce(%b, %c), replica_groups=[2,4]<=[8]"
>>> read(line)
[Collective(kind='all-reduce', size_bytes=176, group=4)]

`size_bytes` is the whole array of a group: what an all-reduce or an all-gather gives, what a
reduce-scatter takes. The second half of a pair `-start`, `-done` is not counted. Slices of chips
have a network between them and no links: an all-reduce over several is one in each slice, and what
each chip then adds up with its partners there, by a `send` and a `recv`.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
CALL = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
ARRAY = re.compile(r"\b([a-z]+)(\d*)[a-z0-9]*\[([\d,]*)\]")
BETWEEN_SLICES = "between slices"
SEND = re.compile(r"= \((.*?\]).* send\(.*_xla_megascale_target=\"\{([\d,]+)\}")
SMALL_BYTES = 2**16  # below it what counts is the number of messages, not their size


class Collective(NamedTuple):
    """One operation that all devices of a group take part in."""

    kind: str
    size_bytes: int  # of the whole array, on one device
    group: int  # devices


def read(text: str) -> list[Collective]:
    """Return all of a program, in its order; what a loop repeats counts once.

    A reduce-scatter for TPUs is an all-reduce in a fusion `all-reduce-scatter`, of whose result
    each device keeps a part.
    """
    collectives, kept_in_part = [], False
    for line in text.splitlines():
        if line.endswith("{"):  # of a computation that others call
            kept_in_part = "all-reduce-scatter" in line.partition("(")[0]
        if found := CALL.search(line):
            each = one(line, found)
            collectives.append(each._replace(kind="reduce-scatter") if kept_in_part else each)
        elif found := SEND.search(line):
            size = size_bytes(*ARRAY.search(found[1]).groups())
            collectives.append(Collective(BETWEEN_SLICES, size, found[2].count(",") + 1))
    return collectives


def one(line: str, found: re.Match) -> Collective:
    """Return the collective of a line of the program.

    Raises:
        ValueError: the line says nothing of its groups.
    """
    kind, group = found[2], group_of(line)
    sizes = [size_bytes(*array.groups()) for array in ARRAY.finditer(found[1])]
    if found[3] and kind != "all-reduce":  # the start of a pair also names what it was given
        sizes = [max(sizes)]
    return Collective(kind, sum(sizes) * (group if kind == "reduce-scatter" else 1), group)


def size_bytes(letters: str, bits: str, shape: str) -> int:
    """Return the size of an array such as `bf16[3,8]`; what has no width takes a byte."""
    return math.prod(map(int, filter(None, shape.split(",")))) * int(bits or 8) // 8


def group_of(line: str) -> int:
    """Return how many devices a group has, in each of the ways that XLA writes groups."""
    if found := re.search(r"replica_groups=mesh\[(.*?)\][^{]*\{(.*?)\}", line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
        axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", found[2])  # an axis, or a part of one
        return math.prod(int(part or sizes[axis]) for axis, part in axes)
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(found[1])
    if found := re.search(r"replica_groups=\{\{([\d,]*)\}", line):
        return found[1].count(",") + 1
    if "source_target_pairs=" in line:
        return 2
    raise ValueError(f"no groups in: {line.strip()[:200]}")


def counted(collectives: Sequence[Collective]) -> dict[str, dict[str, float]]:
    """Return the number and bytes by kind and group, the small ones apart."""
    numbers, sizes = Counter(), Counter()
    for each in collectives:
        small = ", small" if each.size_bytes < SMALL_BYTES else ""
        name = f"{each.kind}{small} x{each.group}"
        numbers[name] += 1
        sizes[name] += each.size_bytes
    return {name: {"number": numbers[name], "bytes": sizes[name]} for name in sorted(numbers)}
