"""What the kills of `kill` did, as Markdown."""

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.kill_plan import PHASES

SHOWN = ("start", "preparation", "opening", *PHASES[1:], "end")
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
    """Print a row for each phase and signal, what missed its phase, and every difference and
    fault."""
    kills = [
        kill | {"exact": not trial["differences"]} for trial in results for kill in trial["kills"]
    ]
    print(f"\n| {' | '.join(HEAD)} |\n{'| --- ' * len(HEAD)}|")
    for phase in SHOWN:
        for name in ("SIGKILL", "SIGTERM", "SIGINT"):
            chosen = [k for k in kills if (k["hit"], k["signal"]) == (phase, name)]
            if chosen:
                print(_row([phase, name], chosen))
    print(_row(["all", ""], kills))
    _print_missed(kills)
    _print_totals(results, kills)
    for trial in results:
        for fault in (*trial["differences"], *trial["faults"]):
            print(f"\ntrial {trial['number']}: {fault}")


def _print_missed(kills: Sequence[dict[str, Any]]) -> None:
    missed = Counter((k["aimed"], k["hit"]) for k in kills if k["aimed"] != k["hit"])
    for (aimed, hit), times in sorted(missed.items()):
        print(f"\nMissed: {times} aimed at {aimed} hit {hit}.", end="")


def _print_totals(results: Sequence[dict[str, Any]], kills: Sequence[dict[str, Any]]) -> None:
    exact = sum(not trial["differences"] for trial in results)
    faulty = sum(bool(trial["faults"]) for trial in results)
    print(
        f"\n\n{len(results)} runs, {len(kills)} kills ({sum(k['to_group'] for k in kills)} of the "
        f"whole group), {exact} runs ended like the unbroken one, bit for bit; {faulty} runs have "
        f"another fault; {sum(k['save_lost'] for k in kills)} of "
        f"{sum(k['save_begun'] for k in kills)} saves that had begun were not there afterwards."
    )
    for number in ("SIGKILL", "SIGTERM", "SIGINT"):
        for to_group, whom in ((True, "the whole group"), (False, "the main process")):
            chosen = [k for k in kills if (k["signal"], k["to_group"]) == (number, to_group)]
            left = [k["shared_memory_left"] for k in chosen if "shared_memory_left" in k]
            if any(left):
                print(
                    f"\n{number} to {whom} of a run with a loader's process left files in /dev/shm "
                    f"{sum(map(bool, left))} times of {len(left)}, up to {max(left)}."
                )


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
