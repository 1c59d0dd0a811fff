"""What several hosts must do: the same numbers, one last step, an end when one of them is lost."""

import json
import re
import signal
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks import same
from benchmarks.hosts_run import TIMEOUT_S, Hosts

AGREE = 1e-5  # relative; sums over more devices are rounded in another order
MORE_S = 10  # after the timeout, until a process that lost another has ended
LOST = 75
STACK = re.compile(r"Check failure stack trace|\*\*\* SIG|^\s*@ +0x|Traceback|^[EF]\d{4} ", re.M)


class Row(NamedTuple):
    """A line of the table."""

    case: str
    measured: str
    faults: list[str]


def unbroken(home: Path, count: int) -> tuple[Path, list[str]]:
    """Return the workdir of a run that nothing happens to, run where it has not been yet, and its
    faults."""
    workdir = home / f"unbroken-{count}" / "workdir"
    if (workdir / "eval/report.html").exists():
        return workdir, []
    with Hosts(home, f"unbroken-{count}") as hosts:
        hosts.to_the_end(count)
    return workdir, hosts.faults


def losses(home: Path, count: int) -> Row:
    """Compare an unbroken run of several processes with that of one."""
    return Row(f"{count} processes, losses of 24 steps", *compared(home, *unbroken(home, count)))


def compared(home: Path, workdir: Path, faults: list[str]) -> tuple[str, list[str]]:
    """Return the largest relative difference of any training loss to the run of one process."""
    try:
        worst = largest_difference(unbroken(home, 1)[0], workdir)
    except (OSError, ValueError) as error:
        return "", [*faults, f"metrics.jsonl: {error}"]
    differing = [f"losses differ by {worst:.1e}"] if worst > AGREE else []
    return f"largest difference to one process {worst:.1e}", faults + differing


def largest_difference(reference: Path, workdir: Path) -> float:
    """Return the largest relative difference of the training losses, line by line."""
    want, got = (_training_lines(folder) for folder in (reference, workdir))
    if [line["step"] for line in want] != [line["step"] for line in got]:
        raise ValueError("other steps are logged")
    names = [name for name in want[0] if name.startswith("loss")]
    pairs = [(a[name], b[name]) for a, b in zip(want, got, strict=True) for name in names]
    return max(abs(b - a) / abs(a) for a, b in pairs)


def _training_lines(workdir: Path) -> list[dict]:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["split"] == "train"]


def signalled(home: Path, number: int, victims: list[int], phase: str) -> Row:
    """Send a signal to some of two processes: all save the same step, end, and go on."""
    name = f"{signal.Signals(number).name} to process {' and '.join(map(str, victims))} of 2"
    with Hosts(home, f"{name} in {phase}".replace(" ", "-")) as hosts:
        hosts.start(2)
        hosts.wait_for(phase, 2)
        began = time.time()
        for victim in victims:
            hosts.runs[victim].send(number, to_group=False)
        hosts.expect_codes([_code(number, index, victims) for index in range(2)], 120)
        took_s, saved = time.time() - began, same.steps(hosts.workdir)[-1:]
        if f"saved step {saved[0] if saved else None}\n" not in hosts.runs[0].said:
            hosts.faults.append(f"process 0 does not say that it saved step {saved}")
        note_stacks(hosts)
        goes_on(hosts, 2, saved)
    shown = f"both ended after {took_s:.1f} s, step {saved} saved, then exact"
    return Row(f"{name}, {phase}", shown, hosts.faults)


def _code(number: int, index: int, victims: list[int]) -> int:
    """Return an exit code: who got no signal itself ends as after SIGTERM."""
    return 128 + (number if index in victims else signal.SIGTERM)


def goes_on(hosts: Hosts, count: int, saved: list[int]) -> None:
    """Let all end, and compare them with as many that were never broken."""
    hosts.faults += same.torn(hosts.workdir)
    hosts.to_the_end(count)
    if saved and f"going on from step {saved[-1]}\n" not in hosts.runs[0].said:
        hosts.faults.append(f"did not go on from step {saved[-1]}")
    hosts.faults += same.differences(unbroken(hosts.home, count)[0], hosts.workdir)


def note_stacks(hosts: Hosts) -> None:
    for index, run in enumerate(hosts.runs):
        found = STACK.search(run.said)
        if found:
            hosts.faults.append(f"process {index} shows {found.group().strip()!r}, see {run.log}")


def lost(home: Path, count: int, victim: int, parent: bool, phase: str) -> Row:
    """Send SIGKILL to one: the others say so and end in time, and all go on together."""
    name = f"SIGKILL to process {victim} of {count}" + ("" if parent else ", worker alone")
    with Hosts(home, f"{name} in {phase}".replace(" ", "-").replace(",", "")) as hosts:
        hosts.start(count)
        hosts.wait_for(phase, 2 if phase in ("step", "save") else 1)
        hosts.hit(victim, signal.SIGKILL, parent)
        began, others = time.time(), [index for index in range(count) if index != victim]
        took_s = [ends_with_the_line(hosts, index, victim, began) for index in others]
        hosts.codes(TIMEOUT_S)
        note_stacks(hosts)
        goes_on(hosts, count, same.steps(hosts.workdir))
    shown = f"the last of the others ended after {max(took_s):.1f} s, then exact"
    return Row(f"{name}, {phase}", shown, hosts.faults)


def frozen(home: Path, victim: int) -> Row:
    """Have one of two not answer for a while: the other ends, and so does it later."""
    other = 1 - victim
    with Hosts(home, f"frozen-{victim}") as hosts:
        hosts.start(2)
        hosts.wait_for("step", 2)
        hosts.hit(victim, signal.SIGSTOP)
        took_s = ends_with_the_line(hosts, other, victim, time.time())
        hosts.hit(victim, signal.SIGCONT)
        woken_s = ends_with_the_line(hosts, victim, other, time.time())
        note_stacks(hosts)
        goes_on(hosts, 2, same.steps(hosts.workdir))
    shown = f"the other ended after {took_s:.1f} s, it {woken_s:.1f} s after it woke up, then exact"
    return Row(f"process {victim} of 2 stopped by SIGSTOP, step", shown, hosts.faults)


def ends_with_the_line(hosts: Hosts, index: int, lost: int, began: float) -> float:
    """Check the end of a process that lost another; return the seconds that it took."""
    run = hosts.runs[index]
    code = run.code(TIMEOUT_S + MORE_S + 60)
    took_s = time.time() - began
    if code != LOST:
        hosts.faults.append(f"process {index} ended with {code}: {run.last_words}")
    if took_s > TIMEOUT_S + MORE_S:
        hosts.faults.append(f"process {index} took {took_s:.1f} s to end")
    if not re.search(rf"^defect_jax: process {lost} of \d+ \(host \S+\) is lost", run.said, re.M):
        hosts.faults.append(f"process {index} does not name process {lost}: {run.log}")
    return took_s


def resized(home: Path, counts: list[int]) -> Row:
    """Stop a run, and start it again with another number of processes."""
    name = " → ".join(map(str, counts))
    with Hosts(home, "resized-" + "-".join(map(str, counts))) as hosts:
        for count in counts[:-1]:
            hosts.start(count)
            hosts.wait_for("step", 2)
            hosts.runs[0].send(signal.SIGTERM, to_group=False)
            hosts.expect_codes([143] * count, 120)
        hosts.to_the_end(counts[-1])
    return Row(f"{name} processes", *compared(home, hosts.workdir, hosts.faults))
