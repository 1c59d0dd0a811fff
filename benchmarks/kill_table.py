"""What the kills of `kill` did, as Markdown."""

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.kill_plan import PHASES

SHOWN = ("start", "preparation", "opening", *PHASES[1:], "end")
MEMORY = ("/dev/shm/", "leaked")
HEAD = (
    "hit in",
    "by",
    "kills",
    "exact in the end",
    "checkpoints lost",
    "steps lost, median (max)",
    "seconds lost, median (max)",
    "ended after, s, at most",
)


def print_results(results: Sequence[dict[str, Any]]) -> None:
    """A row for each phase and signal, what missed its phase, and every fault."""
    kills = [kill | {"exact": not faults(trial)} for trial in results for kill in trial["kills"]]
    print(f"\n| {' | '.join(HEAD)} |\n{'| --- ' * len(HEAD)}|")
    for phase in SHOWN:
        for name in ("SIGKILL", "SIGTERM", "SIGINT"):
            chosen = [k for k in kills if (k["hit"], k["signal"]) == (phase, name)]
            if chosen:
                print(_row([phase, name], chosen))
    print(_row(["all", ""], kills))
    missed = Counter((k["aimed"], k["hit"]) for k in kills if k["aimed"] != k["hit"])
    for (aimed, hit), times in sorted(missed.items()):
        print(f"\nMissed: {times} aimed at {aimed} hit {hit}.", end="")
    print(
        f"\n\n{len(results)} runs, {len(kills)} kills ({sum(k['to_group'] for k in kills)} of the "
        f"whole group), {sum(not faults(trial) for trial in results)} runs ended like the "
        f"unbroken one, bit for bit; {sum(k['save_lost'] for k in kills)} of "
        f"{sum(k['save_begun'] for k in kills)} saves that had begun were not there afterwards."
    )
    left = sum(trial["faults"] != faults(trial) for trial in results)
    print(f"\n{left} runs left memory shared with their loader's process.")
    for trial in results:
        for fault in faults(trial):
            print(f"\ntrial {trial['number']}: {fault}")


def faults(trial: dict[str, Any]) -> list[str]:
    """What is wrong with a run, but for the memory that it shared with its loader.

    A SIGKILL of the whole group takes the process that would have given it back.
    """
    return [fault for fault in trial["faults"] if not any(word in fault for word in MEMORY)]


def _row(names: list[str], kills: list[dict[str, Any]]) -> str:
    lost = sum(kill["save_lost"] for kill in kills)
    cells = [len(kills), sum(kill["exact"] for kill in kills), lost]
    cells.append(_middle([kill["steps_lost"] for kill in kills], "{:.0f}"))
    cells.append(_middle([kill["seconds_lost"] for kill in kills], "{:.1f}"))
    cells.append(f"{max((kill['ended_after_s'] for kill in kills), default=0):.1f}")
    return f"| {' | '.join([*names, *map(str, cells)])} |"


def _middle(numbers: list[float], form: str) -> str:
    if not numbers:
        return ""
    return f"{form.format(statistics.median(numbers))} ({form.format(max(numbers))})"
