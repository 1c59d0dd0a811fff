"""Two hosts with addresses of their own, and a link between them that is cut."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import namespaces, same
from benchmarks.hosts_cases import Row, compared, ends_with_the_line, goes_on, note_stacks
from benchmarks.hosts_run import Hosts


@contextmanager
def _apart(home: Path, name: str) -> Iterator[Hosts]:
    folder = home / "addresses"
    folder.mkdir(exist_ok=True)
    prefixes = [namespaces.prefix(index, folder) for index in range(2)]
    with (
        namespaces.two_hosts(),
        Hosts(home, name, prefixes, namespaces.ADDRESSES[0]) as hosts,
    ):
        yield hosts


def losses(home: Path) -> Row:
    """Compare an unbroken run of two hosts with that of one process."""
    with _apart(home, "apart") as hosts:
        hosts.to_the_end(2)
    return Row(
        "2 hosts with own addresses, losses of 24 steps",
        *compared(home, hosts.workdir, hosts.faults),
    )


def cut(home: Path, victim: int, silently: bool, phase: str = "step") -> Row:
    """Take one host off the network: both say so and end, and go on when it is back."""
    how = "its packets are dropped" if silently else "its link goes down"
    with _apart(home, f"cut-{victim}-{'silently' if silently else 'down'}-in-{phase}") as hosts:
        hosts.start(2)
        hosts.wait_for(phase, 2)
        namespaces.cut(victim, silently)
        began = time.time()
        took_s = [ends_with_the_line(hosts, index, 1 - index, began) for index in range(2)]
        note_stacks(hosts)
        namespaces.mend(victim)
        goes_on(hosts, 2, same.steps(hosts.workdir))
    shown = f"hosts ended after {took_s[0]:.1f} s and {took_s[1]:.1f} s, then exact"
    return Row(f"host {victim} of 2 cut off, {how}, {phase}", shown, hosts.faults)
