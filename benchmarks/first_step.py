"""From the command to the first training step: cold, and with what a run before has compiled.

    launch/module.sh benchmarks.first_step --config=configs/synthetic.py:cpu

Runs the command that a user gives, with prepared data, until all programs of the step are compiled,
and stops it: first with an empty folder of compiled programs, then with the same one. The parts are
those that the program's own lines show. `--root` runs another checkout, to compare with. The last
line is all of it as JSON.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.phases import Watch
from benchmarks.turns import ROOT

LOOK_EVERY_S = 0.02
PARTS = {  # of a run, and what happens meanwhile
    "start": "imports, devices, the prepared data, their intensities",
    "opening": "initial state, the first batch",
    "compilation": "the programs of both training steps, side by side",
}


def timed(command: list[str], folder: Path, number: int, root: Path) -> dict[str, float]:
    """Return the part -> seconds, of one run up to its first step.

    Raises:
        SystemExit: it ended before.
    """
    workdir, log = folder / f"run_{number}", folder / f"run_{number}.log"
    log.touch()
    watch = Watch(log, workdir, folder / "data")
    with open(log, "w") as output:
        process = subprocess.Popen(
            [*command, f"--workdir={workdir}"], cwd=root, stdout=output, stderr=output
        )
    while watch.look() != "step":
        if process.poll() is not None:
            sys.exit(f"the run ended early:\n{log.read_text()[-2000:]}")
        time.sleep(LOOK_EVERY_S)
    process.send_signal(signal.SIGTERM)
    process.wait()
    watch.close()
    times = watch.entered
    return {
        part: ended - began for (began, part), (ended, _) in zip(times, times[1:], strict=False)
    }


def command_of(given: argparse.Namespace, folder: Path, programs: Path) -> list[str]:
    """Return the command that a user gives."""
    return [
        *(sys.executable, "-m", "defect_jax.main", f"--config={given.config}"),
        f"--config.data.data_dir={folder / 'data'}",
        f"--config.compilation_cache={programs}",
        *given.overrides,
    ]


def measure(given: argparse.Namespace, folder: Path) -> dict[str, list[dict[str, float]]]:
    """Return the runs of each kind; one before prepares the data and is not counted."""
    found: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for number in range(given.rounds + 1):
        programs = folder / f"programs_{number}"
        programs.mkdir(mode=0o700)
        for place, kind in enumerate(found):
            parts = timed(
                command_of(given, folder, programs), folder, 2 * number + place, given.root
            )
            if number:
                found[kind].append(parts)
                print(f"{kind}: {sum(parts.values()):.1f} s", flush=True)
            elif kind == "cold":
                break  # the data are there now
    return found


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Return Markdown: medians, and the range of the whole."""
    lines = ["| | cold, s | warm, s |", "| --- | ---: | ---: |"]
    for part, words in PARTS.items():
        medians = [statistics.median(run.get(part, 0.0) for run in found[kind]) for kind in found]
        lines.append(f"| {words} | {medians[0]:.1f} | {medians[1]:.1f} |")
    cells = []
    for runs in found.values():
        whole = sorted(sum(run.values()) for run in runs)
        cells.append(f"{statistics.median(whole):.1f} ({whole[0]:.1f} to {whole[-1]:.1f})")
    lines.append(f"| **command to first step** | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--config", default="configs/synthetic.py:cpu")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="for the command, after --")
    return parser.parse_args()


def main() -> None:
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    given = arguments()
    report = {"machine": machine(os.cpu_count())}
    os.environ["PYTHONPATH"] = str(given.root)
    with tempfile.TemporaryDirectory() as name:
        found = measure(given, Path(name))
    print(f"\n{table(found)}\n")
    report |= {"config": given.config, "runs": found}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
