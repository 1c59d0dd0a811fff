"""What a running program is doing, as far as its lines and its folders show it."""

import contextlib
import os
import re
import statistics
import time
from pathlib import Path
from typing import NamedTuple

SAVING = "orbax-checkpoint-tmp"
PARTIAL = ".partial"
STARTS = {  # phase -> the line that says that it has begun
    "opening": re.compile(r"^network: "),  # initial state, restoring, the first batch
    "compilation": re.compile(r"^compiling the training step"),
    "evaluation": re.compile(r"^(training: (\d+)/\2 in |going on from step 24$)"),
    "report": re.compile(r"^evaluating: (\d+)/\1 in "),
    "end": re.compile(r"^wrote "),
}
COMPILED = re.compile(r"^compiled the training step")
VALIDATING = re.compile(r"^compiling the evaluation step")
VALIDATED = re.compile(r"^step \d+ val: ")


class Watch:
    """Follows a run.

    Attributes:
        entered: each phase with the time at which it began.
        saving_step: of the save that is going on, or None.

    Before those of STARTS come "start" (imports, devices) and "preparation" (of the data, where
    that is to be done). After the compilation a phase is one of "step", "save" (a checkpoint is
    being written, validation may go on meanwhile) and "validation" (the checkpoint is whole, its
    scores are not there yet).
    """

    def __init__(self, log: Path, workdir: Path, data_dir: Path):
        self._log, self._rest = open(log, "rb"), b""
        self._checkpoints, self._data = workdir / "checkpoints", data_dir / "synthetic"
        self._part, self._compiling, self._validating = "start", 0, False
        self._saves: set[str] = set()
        self.saving_step: int | None = None
        self.entered: list[tuple[float, str]] = [(time.time(), "start")]

    def look(self) -> str:
        """Return the phase of now."""
        saves = _names(self._checkpoints, SAVING)
        self._validating |= bool(saves - self._saves)
        self._saves = saves
        self.saving_step = max([int(name.split(".")[0]) for name in saves], default=None)
        *lines, self._rest = (self._rest + self._log.read()).split(b"\n")
        for line in lines:
            self._follow(line.decode(errors="replace"))
        if self._part == "start" and _names(self._data, PARTIAL):
            self._part = "preparation"
        phase = self._phase()
        if phase != self.entered[-1][1]:
            self.entered.append((time.time(), phase))
        return phase

    def times(self, phase: str) -> int:
        """Return how often the phase has begun."""
        return sum(phase == name for _, name in self.entered)

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()

    def _phase(self) -> str:
        if self._saves:
            return "save"
        if self._validating and self._part in ("opening", "step"):
            return "validation"  # when opening: that of a checkpoint saved before a kill
        return self._part

    def _follow(self, line: str) -> None:
        for part, begins in STARTS.items():
            if begins.search(line):
                self._part = part
        if STARTS["compilation"].search(line):
            self._compiling += 1
        elif COMPILED.search(line):
            self._compiling -= 1
            self._part = "compilation" if self._compiling else "step"
        if VALIDATING.search(line) or VALIDATED.search(line):
            self._validating = VALIDATING.search(line) is not None


def _names(folder: Path, part: str) -> set[str]:
    with contextlib.suppress(FileNotFoundError):
        return {name for name in os.listdir(folder) if part in name}
    return set()


class Usual(NamedTuple):
    """What a phase is like in an unbroken run."""

    times: int  # that it begins
    seconds: float  # that it takes, the median


def usual(entered: list[tuple[float, str]]) -> dict[str, Usual]:
    """Return what the phases were like in a run that has ended.

    >>> usual([(0.0, "start"), (2.0, "step"), (3.0, "save"), (5.0, "step"), (8.0, "end")])["step"]
    Usual(times=2, seconds=2.0)
    """
    found: dict[str, list[float]] = {}
    for (began, phase), (ended, _) in zip(entered, entered[1:], strict=False):
        found.setdefault(phase, []).append(ended - began)
    return {phase: Usual(len(each), statistics.median(each)) for phase, each in found.items()}
