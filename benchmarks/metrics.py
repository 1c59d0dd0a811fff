"""Time, memory and values of the evaluation's metrics, beside those of what people use.

    python -m benchmarks.metrics --rival-python=rivals/bin/python

Images of 640x256 px, 11 % of them with several defects, are made batch by batch, and that is not
timed. Every row of the table is a process of its own, so that its peak of memory is its own. The
rivals are no part of the project and live in an environment apart; without it they are "not run".
Torch loses much on a machine with other work, so leave it alone meanwhile.

    python3 -m venv rivals
    rivals/bin/pip install torchmetrics==1.9.0 anomalib==2.7.0 scikit-learn==1.9.1
"""

import argparse
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.metric_contenders import BATCH_SIZE, CONTENDERS, Batch, make_batches

METRICS = ("pixel_ap", "pixel_auroc", "aupro", "miou_pooled", "miou", "mpa", "seg_miou")
METRICS += ("image_ap", "image_auroc", "recall_at_fpr_05")
PACKAGES = ("jax", "torch", "torchmetrics", "anomalib", "scikit-learn", "numpy")
AT_HOME = ("ours", "scikit-learn and NumPy")  # run by this Python, the others by the rivals'


def measure(name: str, images: int) -> dict[str, Any]:
    """Measure in the child: seconds of the metrics, peak of memory above imports and one batch,
    values."""
    run, making_s = CONTENDERS[name](), 0.0
    next(make_batches(BATCH_SIZE))

    def untimed() -> Iterator[Batch]:
        nonlocal making_s
        began = time.perf_counter()
        for batch in make_batches(images):
            making_s += time.perf_counter() - began
            yield batch
            began = time.perf_counter()

    before, began = peak_mb(), time.perf_counter()
    values = run(untimed())
    seconds = time.perf_counter() - began - making_s - values.get("compile_s", 0)
    result = {"seconds": seconds, "mb": peak_mb() - before, "versions": versions()}
    return result | {
        key: values[key] for key in values if key in (*METRICS, "compile_s", "brackets")
    }


def peak_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def versions() -> str:
    modules = {"scikit-learn": "sklearn"}
    used = [name for name in PACKAGES if modules.get(name, name) in sys.modules]
    return ", ".join(f"{name} {version(name)}" for name in used)


def run_cell(python: str, name: str, images: int) -> dict[str, Any] | None:
    """Return a contender in a process of its own; None, and its last words, where that fails."""
    command = [python, "-m", "benchmarks.metrics", f"--cell={name}", f"--images={images}"]
    root = Path(__file__).resolve().parents[1]
    alike = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"} | os.environ  # as launch/module.sh does
    done = subprocess.run(command, cwd=root, env=alike, capture_output=True, text=True)
    if done.returncode:
        words = (done.stderr.splitlines() or ["no word"])[-1]
        print(f"{name}, {images} images: failed with {done.returncode}: {words}", flush=True)
        return None
    cell = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}, {images} images: {cell['seconds']:.2f} s; {cell['versions']}", flush=True)
    return cell


def print_costs(cells: dict[tuple[int, str], Any]) -> None:
    """Print seconds and peak memory, each over ours with as many images."""
    print("\n| | images | seconds | over ours | memory, MB | over ours |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (images, name), cell in cells.items():
        row, base = ["failed" if cell is None else "not run", "", "", ""], cells[images, "ours"]
        if cell and base:
            row = [f"{cell['seconds']:.2f}", f"{cell['seconds'] / base['seconds']:.1f}"]
            row += [f"{cell['mb']:.0f}", f"{cell['mb'] / base['mb']:.1f}"]
        print(f"| {name} | {images} | " + " | ".join(row) + " |")
    compiled = [
        f"{cell['compile_s']:.1f}" for cell in cells.values() if cell and "compile_s" in cell
    ]
    print(f"\nCompiling ours, in its memory but not in its seconds: {', '.join(compiled)} s")


def print_values(cells: dict[str, Any], images: int) -> None:
    """Print what each computed, and the bounds that ours proves for the unbinned value."""
    print(f"\n| {images} images | " + " | ".join(cells) + " | bounds |")
    print("| --- " * (len(cells) + 2) + "|")
    for metric in METRICS:
        values = [(cell or {}).get(metric) for cell in cells.values()]
        row = ["" if value is None else f"{value:.6f}" for value in values]
        bounds = ((cells["ours"] or {}).get("brackets") or {}).get(metric)
        row.append(" to ".join(f"{bound:.6f}" for bound in bounds) if bounds else "")
        print(f"| {metric} | " + " | ".join(row) + " |")


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rival-python", help="python of the rivals' environment")
    parser.add_argument("--images", default="250,1000", help="how many, one after the other")
    parser.add_argument("--cell", choices=CONTENDERS, help="what a child process does")
    given = parser.parse_args()
    if given.cell:
        print(json.dumps(measure(given.cell, int(given.images)), default=float))
        return
    counts = [int(count) for count in given.images.split(",")]
    if any(count % BATCH_SIZE for count in counts):
        parser.error(f"--images must be multiples of {BATCH_SIZE}")
    print(f"{platform.machine()}, {os.cpu_count()} processors", flush=True)
    cells: dict[tuple[int, str], Any] = {}
    for count, name in itertools.product(counts, CONTENDERS):
        python = sys.executable if name in AT_HOME else given.rival_python
        cells[count, name] = run_cell(python, name, count) if python else {}
    print_costs(cells)
    for count in counts:
        print_values({name: cells[count, name] for name in CONTENDERS}, count)


if __name__ == "__main__":
    main()
