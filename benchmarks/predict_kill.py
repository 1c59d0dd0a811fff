"""Kills `--mode=predict` at random moments; the same command then ends with the same files.

    launch/module.sh benchmarks.predict_kill --workdir=runs/folder --input=my_parts --kills=10

An unbroken run comes first. Every other one is killed by SIGKILL after a random part of its time,
what it has left is looked at, and the same command is given again. All files are compared byte by
byte with those of the unbroken run.
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from absl import app, flags

from benchmarks.runs import ROOT

WORKDIR = flags.DEFINE_string("workdir", None, "Of a trained network.", required=True)
INPUT = flags.DEFINE_string("input", None, "Images to decide on.", required=True)
KILLS = flags.DEFINE_integer("kills", 10, "Runs that are killed once each.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Of the moments.")


def main(_: Sequence[str]) -> None:
    """Print one line a kill, and how many ended like the unbroken run."""
    moments = random.Random(SEED.value)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        began = time.monotonic()
        start(folder / "whole").wait()
        lasted_s = time.monotonic() - began
        expected = files(folder / "whole")
        print(f"unbroken: {lasted_s:.1f} s, {len(expected)} files", flush=True)
        alike = 0
        for kill in range(KILLS.value):
            after_s = moments.uniform(0.0, lasted_s)
            output = folder / f"killed-{kill}"
            finished = killed(output, after_s)
            code = start(output).wait()
            same = files(output) == expected
            alike += same and code == 0
            end = "the same files" if same else "OTHER FILES"
            print(f"killed after {after_s:.1f} s, {finished} finished: {end}, exit code {code}")
    print(f"{alike} of {KILLS.value} ended like the unbroken run")
    sys.exit(alike != KILLS.value)


def start(output: pathlib.Path) -> subprocess.Popen:
    """Return the program as a user starts it."""
    arguments = (f"--workdir={WORKDIR.value}", f"--input={INPUT.value}", f"--output={output}")
    command = [sys.executable, "-m", "defect_jax.main", "--mode=predict", *arguments]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=ROOT, **quiet)


def killed(output: pathlib.Path, after_s: float) -> int:
    """Kill a run; return how many images it had finished, whose files must all be there."""
    process = start(output)
    time.sleep(after_s)
    process.kill()
    process.wait()
    lines = output / "predictions.jsonl"
    whole = lines.read_text().split("\n")[:-1] if lines.exists() else []
    for line in map(json.loads, whole):
        for kind, suffix in (("masks", "png"), ("overlays", "jpg"), ("heatmaps", "png")):
            if "fault" not in line and not (output / kind / f"{line['id']}.{suffix}").exists():
                raise AssertionError(f"{line['id']} is in the table, but not in {kind}/")
    return len(whole)


def files(folder: pathlib.Path) -> dict[str, bytes]:
    """Return everything below a folder but the lock."""
    paths = (path for path in folder.rglob("[!.]*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


if __name__ == "__main__":
    app.run(main)
