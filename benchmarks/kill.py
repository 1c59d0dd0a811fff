"""A run killed at any moment and started again ends with the same bits as the unbroken run.

    python -m benchmarks.kill [--kills=60] [--seed=0] [--jobs=2] [--folder=runs/kill]

First come three unbroken runs, one with a loader's worker: they must be the same, and tell how long
each phase takes. Then each run is killed in a phase (`kill_plan`), some two or three times, by
SIGKILL, SIGTERM or SIGINT to its main process or to its whole group, started again with the same
command until it ends, and compared: checkpoints bit by bit, files byte by byte. No hook is in the
program: what it is doing is seen from outside (`phases`), so a kill may miss, and counts for the
phase that it hit.

The program is copied first, and a benchmark that was stopped goes on with the same command. Folders
of runs with a fault are kept. SIGKILL leaves what the system has in its memory: what a power cut
does is not shown here.
"""

import argparse
import concurrent.futures
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks import phases, same
from benchmarks.kill_plan import Trial, plan
from benchmarks.kill_table import print_results
from benchmarks.kill_trial import LOOK_EVERY_S, REFERENCE, Place, finish, strike
from benchmarks.phases import Usual
from benchmarks.runs import copy_code, kill_all
from defect_jax.runtime.console import say, track

one_with_workers = threading.Lock()  # or it would not be known whose shared memory is left


def unbroken(home: Path, name: str, workers: int) -> dict[str, Usual]:
    """Run once from start to end; return what its phases were like."""
    place = Place(home, name, workers, "shared", own_data=False)
    kept = place.folder / "phases.json"
    if not kept.exists():
        say(f"{name}, with {workers} workers …")
        shutil.rmtree(place.folder, ignore_errors=True)
        place.folder.mkdir(parents=True)
        run, watch = place.start()
        while run.process.poll() is None:
            watch.look()
            time.sleep(LOOK_EVERY_S)
        if run.process.returncode:
            raise SystemExit(f"the unbroken run failed, see {run.log}")
        kept.write_text(json.dumps(phases.usual(watch.entered), indent=2))
    return {phase: Usual(*each) for phase, each in json.loads(kept.read_text()).items()}


def all_unbroken(home: Path) -> list[dict[str, Usual]]:
    """Return the runs that are not killed, all the same; the usual phases with 0 and with 1
    workers."""
    first = unbroken(home, REFERENCE, 0)  # prepares the data and compiles
    again = [unbroken(home, f"unbroken-{workers}", workers) for workers in (0, 1)]
    for workers in (0, 1):
        different = same.differences(
            home / REFERENCE / "workdir", home / f"unbroken-{workers}/workdir"
        )
        if different:
            raise SystemExit(f"two unbroken runs differ: {different}")
    alone = {phase: first[phase] for phase in ("preparation", "compilation")}
    return [each | alone for each in again]


def play(home: Path, trial: Trial, usual: dict[str, Usual]) -> dict[str, Any]:
    """Kill a run as planned, let it end, compare it; what is found is kept as JSON."""
    kept = home / f"trial-{trial.number}.json"
    if kept.exists() and (found := json.loads(kept.read_text()))["plan"] == _plain(trial):
        return found
    own_data = any(kill.phase == "preparation" for kill in trial.kills)
    place = Place(home, f"trial-{trial.number}", trial.workers, trial.cache, own_data)
    shutil.rmtree(place.folder, ignore_errors=True)
    place.folder.mkdir()
    found = {"number": trial.number, "plan": _plain(trial), "kills": []}
    found |= {"differences": [], "faults": []}
    try:
        for kill in trial.kills:
            struck, faults = strike(place, kill, usual)
            found["kills"].append(struck)
            found["faults"] += faults
        found["differences"], faults = finish(place)
        found["faults"] += faults
    finally:
        kill_all(place.mark)
    kept.write_text(json.dumps(found, indent=2))
    if not found["faults"] and not found["differences"]:
        shutil.rmtree(place.folder)
    return found


def _plain(trial: Trial) -> Any:
    return json.loads(json.dumps(trial))


def play_all(home: Path, trials: list[Trial], jobs: int) -> list[dict[str, Any]]:
    """Return all trials, several at a time, but one with workers."""
    usual = all_unbroken(home)

    def one(trial: Trial) -> dict[str, Any]:
        with one_with_workers if trial.workers else threading.Lock():
            return play(home, trial, usual[trial.workers])

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        done = concurrent.futures.as_completed([pool.submit(one, trial) for trial in trials])
        results = [future.result() for future in track(done, "killed runs", len(trials))]
    return sorted(results, key=lambda result: result["number"])


def main() -> None:
    """Run all; exit code 1 where a run did not end as the unbroken one, or left something
    behind."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--kills", type=int, default=60, help="runs; some are killed several times")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--folder", type=Path, default=Path("runs/kill"))
    given = parser.parse_args()
    home = copy_code(given.folder.absolute())
    say(f"in {home}")
    try:
        results = play_all(home, plan(given.kills, given.seed), given.jobs)
    except KeyboardInterrupt:
        kill_all(f"{os.getpid()}/")
        os._exit(130)
    print_results(results)
    sys.exit(any(result["differences"] or result["faults"] for result in results))


if __name__ == "__main__":
    main()
