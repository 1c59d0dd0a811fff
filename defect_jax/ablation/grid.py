"""The cells of an ablation: every row with each of its folds and seeds."""

import dataclasses
import itertools
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from defect_jax.ablation.controls import Control
from defect_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: what it changes in the base config.

    Attributes:
        name: of the folder of its cells, for example "gradnorm-0.5".
        title: in the table.
        changes: nested as the config is, for example {"model": {"decoder": "unet"}}.
        seeds: of its cells; None for those of the ablation, or of the row a control takes from.
        control: the row trains nothing, and has no changes: each cell post-processes what the cell
            of another row, with the same fold and seed, predicts.
    """

    name: str
    title: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    seeds: tuple[int, ...] | None = None
    control: Control | None = None


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run."""

    row: Row
    fold: int | None
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        fold = "" if self.fold is None else f"-fold_{self.fold}"
        return f"{self.row.name}{fold}-seed_{self.seed}"


def all_cells(ablation: ConfigDict) -> list[Cell]:
    """Cells in the order in which they run: first seeds of all rows first, so that a table cut
    short compares all of them. Controls come last among the cells of a seed, after those that they
    take from.

    Raises:
        UserError: two rows of one name, or a name that is no folder's, or a control of no row.
    """
    names = [row.name for row in ablation.rows]
    for name in names:
        if names.count(name) > 1 or not re.fullmatch(r"[\w.-]+", name):
            raise UserError(f"rows: {name!r} must be a name of its own, of letters, digits, . - _")
    for row in ablation.rows:
        _check_control(row, ablation)
    cells = [Cell(row, fold, seed) for row in ablation.rows for fold, seed in _pairs(row, ablation)]
    return sorted(cells, key=lambda cell: _turn(cell, ablation))


def _pairs(row: Row, ablation: ConfigDict) -> Iterator[tuple[int | None, int]]:
    """Fold and seed of each cell: all with all, or those in `pairs`, where time is short."""
    seeds = _seeds(row, ablation)
    every = ablation.get("pairs") or itertools.product(ablation.folds or (None,), seeds)
    return ((fold, seed) for fold, seed in every if seed in seeds)


def _turn(cell: Cell, ablation: ConfigDict) -> tuple[int, bool]:
    trained = _trained_row(cell.row, ablation)
    return _seeds(trained, ablation).index(cell.seed), cell.row.control is not None


def _seeds(row: Row, ablation: ConfigDict) -> tuple[int, ...]:
    if row.seeds is not None:
        return row.seeds
    return ablation.seeds if row.control is None else _seeds(_trained_row(row, ablation), ablation)


def _trained_row(row: Row, ablation: ConfigDict) -> Row:
    """The row whose networks these are: another one for a control."""
    if row.control is None:
        return row
    return next(other for other in ablation.rows if other.name == row.control.of)


def _check_control(row: Row, ablation: ConfigDict) -> None:
    if row.control is None:
        return
    of = row.control.of
    if of not in [other.name for other in ablation.rows if other.control is None]:
        raise UserError(f"row {row.name!r}: a control of {of!r}, which is no row that trains")
    if row.changes:
        raise UserError(f"row {row.name!r}: a control changes nothing in the config")
    trained = _seeds(_trained_row(row, ablation), ablation)
    for seed in set(_seeds(row, ablation)) - set(trained):
        raise UserError(f"row {row.name!r}: there is no seed {seed} of {of!r} to take from")


def trained_cell(ablation: ConfigDict, cell: Cell) -> Cell:
    """The cell whose network it shows: itself, or the one that a control takes from."""
    return dataclasses.replace(cell, row=_trained_row(cell.row, ablation))


def cell_config(ablation: ConfigDict, cell: Cell) -> ConfigDict:
    """The base config with the row's changes, the fold and the seed: of a cell that trains.

    Raises:
        UserError: a change names a field that the base config does not have.
    """
    config = ConfigDict(ablation.base.to_dict())
    folds = {} if cell.fold is None else {"data": {"fold": cell.fold}}
    try:
        with config.ignore_type():
            _change(config, cell.row.changes, "")
            _change(config, folds, "")
    except KeyError as error:
        raise UserError(f"row {cell.row.name!r}: the config has no field {error}") from error
    config.seed = cell.seed
    return config.lock()


def _change(config: ConfigDict, changes: Mapping[str, Any], path: str) -> None:
    for name, value in changes.items():
        if name not in config:
            raise KeyError(f"{path}{name}")
        if isinstance(config[name], ConfigDict):
            _change(config[name], value, f"{path}{name}.")
        else:
            config[name] = value


def workdir_of(folder: pathlib.Path, cell: Cell) -> pathlib.Path:
    """Where the cell's run lives."""
    return folder / "cells" / cell.name
