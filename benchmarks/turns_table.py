"""Seconds of contenders that ran in turn (`benchmarks.turns`) as figures, ratios and a table."""

import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

ENOUGH = 100  # calls for a 99th percentile; of fewer it is the highest
Cell = Mapping[str, Mapping[str, Any]]


def summary(
    turns: Mapping[str, Sequence[Sequence[float]]], batch: int, ours: Collection[str]
) -> dict[str, Any]:
    """Return each contender's figures, and its time over that of the fastest one that is not ours.

    The ratio is that of the medians of the same round's turns, of all rounds the median.
    """
    rounds = {
        name: [statistics.median(turn) for turn in own_turns] for name, own_turns in turns.items()
    }
    rivals = [name for name in turns if name not in ours] or list(turns)
    fastest = min(rivals, key=lambda name: statistics.median(rounds[name]))
    cell = {}
    for name, own_turns in turns.items():
        seconds = [second for turn in own_turns for second in turn]
        median = statistics.median(seconds)
        ratios = [own / other for own, other in zip(rounds[name], rounds[fastest], strict=True)]
        cell[name] = {
            "images_per_second": batch / median,
            "p50_ms": 1000 * median,
            "p99_ms": 1000 * float(np.percentile(seconds, 99)) if len(seconds) >= ENOUGH else None,
            "highest_ms": 1000 * max(seconds),
            "calls": len(seconds),
            "rounds": len(ratios),
            "over": fastest,
            "ratio": statistics.median(ratios),
            "ratio_lowest": min(ratios),
            "ratio_highest": max(ratios),
        }
    return cell


def table(cell: Cell) -> str:
    """Return Markdown."""
    over = next(iter(cell.values()))["over"]
    lines = [
        f"| | images/s | p50, ms | p99, ms | calls | time over that of {over} |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in cell.items():
        p99 = row["p99_ms"]
        words = f"highest: {row['highest_ms']:.1f}" if p99 is None else f"{p99:.1f}"
        lines.append(
            f"| {name} | {row['images_per_second']:.2f} | {row['p50_ms']:.1f} | {words} | "
            f"{row['calls']} | {ratio(row)} |"
        )
    return "\n".join(lines)


def ratio(row: Mapping[str, Any]) -> str:
    """Return the ratio with its lowest and highest of all rounds."""
    if row["rounds"] == 1:
        return f"{row['ratio']:.2f} (one round)"
    return f"{row['ratio']:.2f} ({row['ratio_lowest']:.2f} to {row['ratio_highest']:.2f})"


def verdict(cell: Cell, ours: Collection[str]) -> str:
    """Return our fastest over the fastest rival."""
    best = min((name for name in cell if name in ours), key=lambda name: cell[name]["ratio"])
    row = cell[best]
    return f"Ours at best ({best}) takes {ratio(row)} of the time of {row['over']}."
