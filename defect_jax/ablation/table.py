"""The table: mean and spread of each row, and its differences to the first row, pair by pair.

A pair is the same fold and seed in both rows: the same images in the same order, so that the
spread of the differences is what is left of the rows' own.
"""

import dataclasses
import json
import math
import pathlib
import statistics
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from defect_jax.ablation.grid import Cell, Row, all_cells, cell_config, workdir_of
from defect_jax.ablation.run import is_finished
from defect_jax.metrics.summary import read_metrics
from defect_jax.runtime import atomic_files
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.escapes import csv_text
from defect_jax.workdir.kept_split import SPLIT_FILE

LOWER_IS_BETTER = ("seg_fpr", "false_positive_rate", "fpr_at_recall_95")
Figures = Mapping[Cell, Mapping[str, int | float | None]]


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of what is defined; nan where there is nothing."""

    mean: float
    deviation: float  # nan below two values
    count: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread":
        """Return the spread of the values that are not None.

        >>> Spread.of([1.0, 3.0, None])
        Spread(mean=2.0, deviation=1.4142135623730951, count=2)
        """
        known = [value for value in values if value is not None]
        deviation = statistics.stdev(known) if len(known) > 1 else math.nan
        return cls(statistics.fmean(known) if known else math.nan, deviation, len(known))

    @property
    def standard_error(self) -> float:
        """Return the standard error of the mean."""
        return self.deviation / math.sqrt(self.count) if self.count else math.nan

    def __str__(self) -> str:
        if not self.count:
            return "–"
        return f"{self.mean:.3f}" + (f" ± {self.deviation:.3f}" if self.count > 1 else "")


@dataclasses.dataclass(frozen=True)
class Difference:
    """Row minus first row over their common folds and seeds."""

    spread: Spread
    better: int  # pairs in which the row is better

    @property
    def is_clear(self) -> bool:
        """Return whether three pairs or more have a mean beyond twice its standard error."""
        error = self.spread.standard_error
        return self.spread.count > 2 and abs(self.spread.mean) > 2.0 * error

    def __str__(self) -> str:
        if not self.spread.count:
            return "–"
        mark = "**" if self.is_clear else ""
        error = f" ± {self.spread.standard_error:.3f}" if self.spread.count > 1 else ""
        return f"{mark}{self.spread.mean:+.3f}{error}{mark} ({self.better}/{self.spread.count})"


def write_table(ablation: ConfigDict, folder: pathlib.Path) -> pathlib.Path:
    """Write table.md, table.csv and cells.csv of the finished cells, and return the first.

    Raises:
        UserError: the data changed while the cells were trained.
    """
    cells = [cell for cell in all_cells(ablation) if is_finished(ablation, folder, cell)]
    refuse_other_data(ablation, cells, folder)
    figures = figures_of(cells, folder)
    atomic_files.write_text(folder / "cells.csv", cells_csv(figures, ablation.metrics))
    atomic_files.write_text(folder / "table.csv", table_csv(figures, ablation))
    atomic_files.write_text(folder / "table.md", markdown(figures, ablation))
    return folder / "table.md"


def refuse_other_data(ablation: ConfigDict, cells: Sequence[Cell], folder: pathlib.Path) -> None:
    """Refuse cells that asked for the same data and got another state of them: no pairs.

    Raises:
        UserError: naming two such cells.
    """
    first: dict[str, tuple[Cell, str | None]] = {}
    for cell in cells:
        path = workdir_of(folder, cell) / SPLIT_FILE
        split = path.read_text(encoding="utf-8") if path.exists() else None
        data = json.dumps(cell_config(ablation, cell).data.to_dict(), sort_keys=True)
        other, expected = first.setdefault(data, (cell, split))
        if split != expected:
            raise UserError(
                f"{path}: the images or their split are not those that {other.name} was trained "
                "with, so the two cannot be compared: move the folder of one away, and run again"
            )


def figures_of(cells: Sequence[Cell], folder: pathlib.Path) -> Figures:
    """Return the metrics of the test split of each of these finished cells."""
    paths = {cell: workdir_of(folder, cell) / "eval" / "test" / "metrics.json" for cell in cells}
    return {cell: read_metrics(path) for cell, path in paths.items()}


def spread(figures: Figures, row: Row, metric: str) -> Spread:
    """Return the spread over all finished cells of the row that have the metric: one class of
    defect has no `class_miou`."""
    return Spread.of([numbers.get(metric) for cell, numbers in figures.items() if cell.row == row])


def difference(figures: Figures, row: Row, first: Row, metric: str) -> Difference:
    """Compare over the folds and seeds that both rows have finished and that define the metric."""
    base = {(c.fold, c.seed): n.get(metric) for c, n in figures.items() if c.row == first}
    own = {(c.fold, c.seed): n.get(metric) for c, n in figures.items() if c.row == row}
    pairs = [key for key in own if own[key] is not None and base.get(key) is not None]
    differences = [own[key] - base[key] for key in pairs]
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    return Difference(Spread.of(differences), sum(sign * value > 0.0 for value in differences))


def markdown(figures: Figures, ablation: ConfigDict) -> str:
    """Return two tables: the rows, and their differences to the first of them."""
    first, metrics = ablation.rows[0], ablation.metrics
    planned = {row: 0 for row in ablation.rows}
    for cell in all_cells(ablation):
        planned[cell.row] += 1
    done = {row: sum(cell.row == row for cell in figures) for row in ablation.rows}
    rows = [
        [row.title, f"{done[row]} of {planned[row]}"]
        + [str(spread(figures, row, metric)) for metric in metrics]
        for row in ablation.rows
    ]
    differences = [
        [row.title] + [str(difference(figures, row, first, metric)) for metric in metrics]
        for row in ablation.rows[1:]
    ]
    return "\n".join(
        [
            "Test split. Mean ± standard deviation over folds and seeds.",
            "",
            _table(["", "cells", *metrics], rows),
            "",
            f"Difference to “{first.title}”, same fold and seed: mean ± standard error (better "
            "in / of pairs). Bold: three pairs or more, and beyond twice the standard error.",
            "",
            _table(["", *metrics], differences),
            "",
        ]
    )


def table_csv(figures: Figures, ablation: ConfigDict) -> str:
    """Return one line a row and metric."""
    lines: list[list[object]] = []
    for row in ablation.rows:
        for metric in ablation.metrics:
            own = spread(figures, row, metric)
            change = difference(figures, row, ablation.rows[0], metric)
            pairs = change.spread
            lines.append(
                [row.name, metric, own.count, own.mean, own.deviation]
                + [pairs.count, pairs.mean, pairs.standard_error, change.better]
            )
    names = ["row", "metric", "cells", "mean", "deviation"]
    return _csv([*names, "pairs", "difference", "standard_error", "better"], lines)


def cells_csv(figures: Figures, metrics: Sequence[str]) -> str:
    """Return one line a finished cell."""
    lines = [
        [cell.row.name, cell.fold, cell.seed, *(numbers.get(metric) for metric in metrics)]
        for cell, numbers in figures.items()
    ]
    return _csv(["row", "fold", "seed", *metrics], lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _csv(head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    def plain(value: object) -> object:
        return "" if value is None or value != value else value  # nan is not equal to itself

    return csv_text([head, *([plain(value) for value in line] for line in lines)])
