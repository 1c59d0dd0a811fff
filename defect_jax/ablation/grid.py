"""The cells of an ablation: every row with each of its folds and seeds."""

import dataclasses
import itertools
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from defect_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: what it changes in the base config.

    Attributes:
        name: of the folder of its cells, for example "gradnorm-0.5".
        title: in the table.
        changes: nested as the config is, for example {"model": {"decoder": "unet"}}.
        seeds: of its cells; None for those of the ablation.
    """

    name: str
    title: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    seeds: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run."""

    row: Row
    fold: int | None
    seed: int

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        fold = "" if self.fold is None else f"-fold_{self.fold}"
        return f"{self.row.name}{fold}-seed_{self.seed}"


def all_cells(ablation: ConfigDict) -> list[Cell]:
    """Return cells in the order in which they run: first seeds of all rows first, so that a table
    cut short compares all of them.

    Raises:
        UserError: two rows of one name, or a name that is no folder's.
    """
    names = [row.name for row in ablation.rows]
    for name in names:
        if names.count(name) > 1 or not re.fullmatch(r"[\w.-]+", name):
            raise UserError(f"rows: {name!r} must be a name of its own, of letters, digits, . - _")
    cells = [Cell(row, fold, seed) for row in ablation.rows for fold, seed in _pairs(row, ablation)]
    return sorted(cells, key=lambda cell: _seeds(cell.row, ablation).index(cell.seed))


def _pairs(row: Row, ablation: ConfigDict) -> Iterator[tuple[int | None, int]]:
    """Return the fold and seed of each cell: all with all, or those in `pairs`, where time is
    short."""
    seeds = _seeds(row, ablation)
    every = ablation.get("pairs") or itertools.product(ablation.folds or (None,), seeds)
    return ((fold, seed) for fold, seed in every if seed in seeds)


def _seeds(row: Row, ablation: ConfigDict) -> tuple[int, ...]:
    return ablation.seeds if row.seeds is None else row.seeds


def cell_config(ablation: ConfigDict, cell: Cell) -> ConfigDict:
    """Return the base config with the row's changes, the fold and the seed.

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
    """Return where the cell's run lives."""
    return folder / "cells" / cell.name
