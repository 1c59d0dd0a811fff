"""Which runs are killed, where, and by what; the same for the same seed."""

import random
import signal
from typing import NamedTuple

PHASES = ("preparation", "compilation", "step", "save", "validation", "evaluation", "report")
REPEATED = {"step": 6, "save": 6, "validation": 6}  # times that a run comes to them, others: once
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Kill(NamedTuple):
    """One kill: when and how."""

    phase: str
    times: int  # the phase has begun, before it is hit
    share: float  # of the phase's usual length that is waited then
    signal: str
    to_group: bool  # or to the main process alone


class Trial(NamedTuple):
    """One run, killed and started again until it ends."""

    number: int
    kills: list[Kill]
    workers: int
    cache: str  # of compiled programs: "shared", "own" (empty at first) or "none"


def plan(trials: int, seed: int) -> list[Trial]:
    """Return all trials of a benchmark: every phase with every signal, in turn."""
    return [_trial(number, random.Random(f"{seed} {number}")) for number in range(trials)]


def _trial(number: int, chance: random.Random) -> Trial:
    turn, place = divmod(number, len(PHASES))
    kills = [_kill(PHASES[place], number + turn, chance, first=True)]
    for _ in range(1 + (number % 3 == 1) if number % 5 == 4 else 0):
        # Only what comes after the phase that was hit, comes again.
        later = PHASES[max(1, PHASES.index(kills[-1].phase)) :]
        kills.append(_kill(chance.choice(later), chance.randrange(5), chance, first=False))
    compiling = any(kill.phase == "compilation" for kill in kills)
    cache = chance.choice(("own", "none")) if compiling else "shared"
    return Trial(number, kills, int(number % 4 == 3), cache)


def _kill(phase: str, turn: int, chance: random.Random, first: bool) -> Kill:
    times = chance.randint(1, REPEATED.get(phase, 1)) if first else 1
    number = SIGNALS[turn % len(SIGNALS)]
    return Kill(phase, times, chance.random(), number.name, chance.random() < 0.5)
