"""Several processes on one machine as several hosts: the same numbers, and what a lost host does.

    python -m benchmarks.hosts [--only=losses,signal,lost,resize] [--namespaces] [--folder=DIR]

Each case is a line of the table, with what was measured; exit code 1 when one has a fault, whose
folder stays. With `--namespaces` (root, Linux, `ip` and `unshare`) two hosts have addresses and
names of their own, and a link that is cut; they share this machine's disk. The program is copied
first, and a benchmark that was stopped goes on with the same command.
"""

import argparse
import json
import signal
import sys
from functools import partial
from pathlib import Path

from benchmarks import hosts_apart, namespaces
from benchmarks.hosts_cases import Row, frozen, losses, lost, resized, signalled, unbroken
from benchmarks.runs import copy_code
from defect_jax.runtime.console import say, track

GROUPS = ("losses", "signal", "lost", "resize")
APART = "apart"  # with --namespaces


def cases(home: Path) -> dict[str, list[partial[Row]]]:
    """Return all cases, by group."""
    one, other, both = ((signal.SIGTERM, victims) for victims in ([0], [1], [0, 1]))
    stops = [(*stop, "step") for stop in (one, other, both, (signal.SIGINT, [1]))]
    stops += [(*stop, "save") for stop in (one, both)]
    dead = [(2, victim, parent, "step") for victim in (0, 1) for parent in (True, False)]
    dead += [(2, v, True, phase) for phase in ("compilation", "save", "evaluation") for v in (0, 1)]
    cuts = [(1, False), (0, True), (1, True)]
    return {
        "losses": [partial(losses, home, count) for count in (2, 4)],
        "signal": [partial(signalled, home, *stop) for stop in stops],
        "lost": [partial(lost, home, *each) for each in [*dead, (4, 2, True, "step")]]
        + [partial(frozen, home, victim) for victim in (0, 1)],
        "resize": [partial(resized, home, counts) for counts in ([2, 1], [1, 2], [2, 4, 1])],
        APART: [partial(hosts_apart.losses, home)]
        + [partial(hosts_apart.cut, home, *each) for each in cuts],
    }


def rows_of(home: Path, groups: list[str]) -> list[Row]:
    """Run the cases that have not been run before."""
    chosen = [(f"{g}-{n}", case) for g in groups for n, case in enumerate(cases(home)[g])]
    if chosen:
        unbroken(home, 1)
        unbroken(home, 2)
    rows = []
    for name, case in track(chosen, "cases", len(chosen)):
        kept = home / f"{name}.json"
        if not kept.exists():
            row = case()
            say(f"{row.case}: {row.measured} {row.faults or ''}")
            kept.write_text(json.dumps(row))
        rows.append(Row(*json.loads(kept.read_text())))
    return rows


def show(rows: list[Row]) -> None:
    """Print Markdown."""
    print("\n| case | measured | |\n| --- | --- | --- |")
    for row in rows:
        print(f"| {row.case} | {row.measured} | {'FAULT' if row.faults else 'ok'} |")
    for row in rows:
        for fault in row.faults:
            print(f"\n{row.case}: {fault}")


def main() -> None:
    """Run the cases; exit code 1 where one has a fault."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--only", default=",".join(GROUPS), help="groups of cases, by comma")
    parser.add_argument("--namespaces", action="store_true", help="hosts with own addresses, too")
    parser.add_argument("--folder", type=Path, default=Path("runs/hosts"))
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or what was started would live on
    groups = [name for name in given.only.split(",") if name]
    refusal = namespaces.refusal() if given.namespaces else None
    if given.namespaces and refusal is None:
        groups.append(APART)
    home = copy_code(given.folder.absolute())
    say(f"in {home}")
    rows = rows_of(home, groups)
    show(rows)
    if refusal:
        print(f"\nNo hosts with own addresses here: {refusal}")
    sys.exit(any(row.faults for row in rows))


if __name__ == "__main__":
    main()
