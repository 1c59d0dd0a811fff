"""One start of a run and its end, by a kill or by itself, and what is wrong afterwards."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from benchmarks import same
from benchmarks.kill_plan import Kill
from benchmarks.phases import Usual, Watch
from benchmarks.runs import Run, survivors

LOOK_EVERY_S = 0.002
REFERENCE = "reference"  # the folder of the unbroken run that all are compared with
RUN_WITHIN_S = 900
END_WITHIN_S = {"SIGKILL": 10, "SIGTERM": 180, "SIGINT": 180}  # a step, or a save, may be at work
# A signal that comes later finds a checkpoint, or has one saved.
SAVES = ("step", "save", "validation", "evaluation", "report")
NOISE = ("Traceback", "Exception ignored", "leaked", "Fatal Python")
SHARED_MEMORY = Path("/dev/shm")


class Place:
    """Folders and settings of one run, unbroken or not."""

    def __init__(self, home: Path, name: str, workers: int, cache: str, own_data: bool):
        self.home, self.folder = home, home / name
        self.mark = f"{os.getpid()}/{name}/"
        self.workdir, self.starts = self.folder / "workdir", 0
        self.data_dir = (self.folder if own_data else home) / "data"
        self.arguments = [
            f"--workdir={self.workdir}",
            f"--config.data.data_dir={self.data_dir}",
            f"--config.data.workers={workers}",
        ]
        if cache != "none":
            folder = (home if cache == "shared" else self.folder) / "cache"
            self.arguments.append(f"--config.compilation_cache={folder}")

    def start(self) -> tuple[Run, Watch]:
        """Start the command; it is the same each time."""
        self.starts += 1
        log = self.folder / f"start-{self.starts}.txt"
        run = Run(self.home, self.mark, log, self.arguments)
        return run, Watch(log, self.workdir, self.data_dir)


def strike(place: Place, kill: Kill, usual: dict[str, Usual]) -> tuple[dict[str, Any], list[str]]:
    """Start the run and kill it once; return what that did, and its faults."""
    memory = set(os.listdir(SHARED_MEMORY))
    run, watch = place.start()
    hit = _wait_for(run, watch, kill, usual)
    at = time.time()
    run.send(getattr(signal, kill.signal), kill.to_group)
    code = run.code(END_WITHIN_S[kill.signal])
    ended_after_s = time.time() - at
    watch.close()
    kept, logged = same.steps(place.workdir), _last_logged(place.workdir)
    done = {
        "aimed": kill.phase,
        "hit": hit,
        "signal": kill.signal,
        "to_group": kill.to_group,
        "code": code,
        "save_begun": hit == "save",
        "save_lost": hit == "save" and watch.saving_step not in kept,
        "steps_lost": max(0, logged - max(kept, default=0)),
        "seconds_lost": max(0.0, at - _whole_at(place.workdir, kept, run.began)),
        "ended_after_s": ended_after_s,
    }
    faults = _faults_of_end(kill, hit, code, kept, run.said) + same.torn(place.workdir)
    faults += [f"still alive: {line}" for line in survivors(place.mark)]
    if any("workers=1" in argument for argument in place.arguments):
        left = done["shared_memory_left"] = len(set(os.listdir(SHARED_MEMORY)) - memory)
        # A SIGKILL of the whole group takes the process that would have given it back.
        if left and not (kill.signal == "SIGKILL" and kill.to_group):
            faults.append(f"{left} files are left in /dev/shm")
    return done, [f"start {place.starts}, {kill.signal} in {hit}: {fault}" for fault in faults]


def _wait_for(run: Run, watch: Watch, kill: Kill, usual: dict[str, Usual]) -> str:
    """Wait for the moment of the kill; return the phase that it hits."""
    at, there = None, usual.get(kill.phase, Usual(1, 0.0))
    while run.process.poll() is None:
        phase = watch.look()
        if at is None and watch.times(kill.phase) >= min(kill.times, there.times):
            at = time.time() + kill.share * there.seconds
        if at is not None and time.time() >= at:
            return phase
        time.sleep(LOOK_EVERY_S)
    return "end"


def _last_logged(workdir: Path) -> int:
    """Return the last step of metrics.jsonl; up to log_every_steps more may have been done
    since."""
    path = workdir / "metrics.jsonl"
    steps = [0]
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            steps.append(json.loads(line)["step"])
        except ValueError:
            break
    return steps[-1]


def _whole_at(workdir: Path, steps: list[int], began: float) -> float:
    """Return when the newest checkpoint became whole; the start of the run, where there is none."""
    if not steps:
        return began
    return max(began, (workdir / "checkpoints" / str(steps[-1])).stat().st_mtime)


def _faults_of_end(
    kill: Kill, hit: str, code: int | None, steps: list[int], said: str
) -> list[str]:
    number = getattr(signal, kill.signal)
    faults = []
    if code != 128 + number and not (hit == "end" and code == 0):
        faults.append(f"exit code {code}, not {128 + number}")
    if hit in SAVES and kill.signal != "SIGKILL":
        if not steps:
            faults.append("no checkpoint")
        faults += [f"says {word}" for word in NOISE if word in said]
    return faults


def finish(place: Place) -> tuple[list[str], list[str]]:
    """Let the run end; return its differences from the unbroken one, and other faults."""
    before = same.steps(place.workdir)
    run, watch = place.start()
    watch.close()
    code = run.code(RUN_WITHIN_S)
    if code != 0:
        return [f"start {place.starts} ended with {code}: {run.last_words}"], []
    faults = [f"says {word}" for word in NOISE if word in run.said]
    if before and f"going on from step {before[-1]}\n" not in run.said:
        faults.append(f"did not go on from step {before[-1]}, its newest checkpoint")
    faults += [f"left behind: {path}" for path in same.remains(place.workdir, place.data_dir)]
    faults += [f"alive after the end: {line}" for line in survivors(place.mark)]
    return same.differences(place.home / REFERENCE / "workdir", place.workdir), faults
