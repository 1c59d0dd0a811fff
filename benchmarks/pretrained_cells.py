"""Finished cells of `benchmarks.pretrained`, runs of ours, and the table of all of them."""

import glob
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from defect_jax.ablation.grid import Cell, Row
from defect_jax.ablation.table import Figures, Spread, difference, markdown
from defect_jax.metrics.summary import read_metrics
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.json_files import read_json
from defect_jax.workdir import kept_split
from defect_jax.workdir.kept_split import KeptRow

METRICS = (
    "image_auroc",
    "image_ap",
    "recall_at_fpr_05",
    "seg_miou",
    "miou_pooled",
    "seg_recall",
    "seg_fpr",
    "pixel_ap",
    "mask_image_auroc",
)
SECONDS = ("seconds", "training_seconds", "seconds_per_picture")


# What was chosen on the val split of fold 0, which is the test split of fold 1.
CHOSEN = dict.fromkeys(("smp", "smp_unet"), "its recipe, ours, was")
CHOSEN |= {"patchcore": "its settings were"}


class Result(NamedTuple):
    """One line of cells.jsonl."""

    method: str
    fold: int
    seed: int
    numbers: dict[str, float | None]  # METRICS and SECONDS, and what else there is


def read_results(folder: Path) -> list[Result]:
    """Return the cells that are finished, in the order of their names."""
    return [Result(**json.loads(p.read_text())) for p in sorted(folder.glob("cells/*/result.json"))]


def our_results(
    method: str, pattern: str, rows_of_fold: Mapping[int, Sequence[KeptRow]]
) -> Iterator[Result]:
    """Yield what evaluated workdirs have written.

    Args:
        method: their name in the table.
        pattern: of their folders.
        rows_of_fold: the split of each fold, which must be theirs.

    Raises:
        UserError: a workdir had another split, or there is none.
    """
    folders = [Path(f) for f in sorted(glob.glob(pattern)) if (Path(f) / "config.json").exists()]
    if not folders:
        raise UserError(f"--ours={method}={pattern}: there is no such workdir")
    for workdir in folders:
        # As it is: a config of another version of ours is as good for these two fields.
        config = read_json(workdir / "config.json")
        fold, path = config["data"]["fold"], workdir / "eval" / "test" / "metrics.json"
        if fold not in rows_of_fold or not path.exists():
            continue
        if sorted(kept_split.read(workdir)) != sorted(rows_of_fold[fold]):
            raise UserError(
                f"{workdir}: was trained on another split than the rivals of fold {fold}"
            )
        numbers = dict(read_metrics(path)) | {"seconds": _seconds(workdir, path)}
        yield Result(method, fold, config["seed"], numbers)


def refuse_doubles(results: Sequence[Result]) -> None:
    """Refuse two runs of one method, fold and seed: they would count as one.

    Raises:
        UserError: naming what is there twice.
    """
    cells = [result[:3] for result in results]
    if doubles := [cell for cell in cells if cells.count(cell) > 1]:
        method, fold, seed = doubles[0]
        raise UserError(f"--ours={method}: two runs of fold {fold}, seed {seed}: name one of them")


def _seconds(workdir: Path, evaluated: Path) -> float | None:
    """Return the time from TensorBoard's first file, whose name has it, to the evaluation."""
    names = [path.name.split(".") for path in (workdir / "tensorboard").rglob("*tfevents.*")]
    began = [int(parts[parts.index("tfevents") + 1]) for parts in names]
    return evaluated.stat().st_mtime - min(began) if began else None


def write_lines(path: Path, results: Sequence[Result]) -> None:
    """Write cells.jsonl: a line a cell, with everything that is known of it."""
    path.write_text("".join(json.dumps(result._asdict()) + "\n" for result in results))


def table(results: Sequence[Result]) -> str:
    """Return means and spreads, differences to the first method pair by pair, folds and seconds."""
    methods = list(dict.fromkeys(result.method for result in results))
    rows = {method: Row(method, method) for method in methods}
    figures = {Cell(rows[r.method], r.fold, r.seed): r.numbers for r in results}
    ablation = ConfigDict({"metrics": METRICS})
    ablation.rows = tuple(rows.values())
    ablation.folds = tuple(sorted({result.fold for result in results}))
    ablation.seeds = tuple(sorted({result.seed for result in results}))
    parts = [markdown(figures, ablation), _best(figures, ablation), _by_fold(figures, ablation)]
    return "\n".join([*parts, _seconds_table(figures, ablation), *_notes(results)])


def _best(figures: Figures, ablation: ConfigDict) -> str:
    """Return for each metric the first method against the best of the others, by means."""
    first, *others = ablation.rows
    lines = ["| metric | best other | first method ahead by |", "| --- | --- | --- |"]
    for metric in ablation.metrics if others else ():
        pairs = [(row, difference(figures, row, first, metric)) for row in others]
        known = [pair for pair in pairs if not math.isnan(pair[1].spread.mean)]
        if not known:
            continue
        sign = -1.0 if metric == "seg_fpr" else 1.0
        row, best = max(known, key=lambda pair: sign * pair[1].spread.mean)
        ahead = -sign * best.spread.mean
        lines.append(
            f"| {metric} | {row.title} | {ahead:+.3f} ± {best.spread.standard_error:.3f} |"
        )
    return "\n".join(lines) + "\n"


def _by_fold(figures: Figures, ablation: ConfigDict) -> str:
    head = ["image_auroc", *(f"fold {fold}" for fold in ablation.folds)]
    lines = [head, ["---"] * len(head)]
    for row in ablation.rows:
        spreads = (
            Spread.of([n.get("image_auroc") for c, n in figures.items() if (c.row, c.fold) == key])
            for key in ((row, fold) for fold in ablation.folds)
        )
        lines.append([row.title, *map(str, spreads)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _seconds_table(figures: Figures, ablation: ConfigDict) -> str:
    lines = [["", *SECONDS], ["---"] * (1 + len(SECONDS))]
    for row in ablation.rows:
        numbers = [n for cell, n in figures.items() if cell.row == row]
        spreads = [Spread.of([n.get(name) for n in numbers]) for name in SECONDS]
        lines.append([row.title, *map(str, spreads)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _notes(results: Sequence[Result]) -> list[str]:
    """Return a line for each method that is no independent one on fold 1."""
    there = dict.fromkeys(result.method for result in results if result.fold == 1)
    where = "chosen on fold 0's val split, which is this test split"
    return [f"{name}, fold 1: {CHOSEN[name]} {where}.\n" for name in there if name in CHOSEN]
