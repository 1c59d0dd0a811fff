"""Every control on every network of one row: none twice, a killed one again, one table.

A control is one more row of the ablation: its cells have the folds and seeds of the networks, and
their workdirs are beside those of the networks.
"""

import dataclasses
import pathlib

from ml_collections import ConfigDict

from benchmarks.controls.cell import is_recorded, run_control
from benchmarks.controls.post_processing import CONTROLS
from defect_jax.ablation import Row, table
from defect_jax.ablation import run as ablation_run
from defect_jax.ablation.grid import Cell, all_cells, cell_config, workdir_of
from defect_jax.runtime import atomic_files, compilation
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError

TAKES_FROM = "base"  # the row whose networks are post-processed
BY_NAME = {control.name: control for control in CONTROLS}


def with_controls(ablation: ConfigDict) -> ConfigDict:
    """Return the ablation with other rows: the one of the networks, then one for each control.

    Raises:
        UserError: there is no row to take networks from.
    """
    base = next((row for row in ablation.rows if row.name == TAKES_FROM), None)
    if base is None:
        raise UserError(f"rows: controls need the row {TAKES_FROM!r}, and there is none")
    controls = [Row(control.name, control.title, seeds=base.seeds) for control in CONTROLS]
    compared = ablation.copy_and_resolve_references()
    with compared.unlocked():
        compared.rows = (base, *controls)
    return compared


def control_cells(compared: ConfigDict) -> list[Cell]:
    """Return the cells that train nothing, first seeds first."""
    return [cell for cell in all_cells(compared) if cell.row != compared.rows[0]]


def run_all(compared: ConfigDict, folder: pathlib.Path) -> None:
    """Run every control that is not finished, that no other process runs, and that has a network.

    Raises:
        UserError: a network has another config; or controls failed, and the others were run all
            the same.
        Stopped: a signal came.
    """
    cells, failed = control_cells(compared), []
    for cell in cells:
        is_finished(
            compared, folder, cell
        )  # a network of another config is refused before any work
    for number, cell in enumerate(cells, 1):
        network = network_of(compared, cell)
        if not is_finished(compared, folder, network):
            say(f"{cell.name} waits for {network.name}")
            continue
        with ablation_run.claimed(folder, cell) as lock:
            if lock is None or is_finished(compared, folder, cell):
                continue
            say(f"control {number} of {len(cells)}: {cell.name}")
            try:
                run_cell(compared, folder, cell)
            except UserError as error:
                say(f"{cell.name} failed: {error}")
                failed.append(cell.name)
    if failed:
        raise UserError(f"{len(failed)} controls failed, see above: {', '.join(failed)}")


def run_cell(compared: ConfigDict, folder: pathlib.Path, cell: Cell) -> None:
    """Run one control.

    Raises:
        UserError: its network is not finished, or has no decision for its best checkpoint.
    """
    network = network_of(compared, cell)
    if is_finished(compared, folder, cell):
        say(f"{cell.name} is finished")
        return
    if not is_finished(compared, folder, network):
        raise UserError(f"{cell.name} needs {network.name}, which is not finished: run that first")
    config = cell_config(compared, network)
    compilation.start_cache(config.compilation_cache)
    control = BY_NAME[cell.row.name]
    run_control(control, workdir_of(folder, cell), workdir_of(folder, network), config)


def is_finished(compared: ConfigDict, folder: pathlib.Path, cell: Cell) -> bool:
    """Return whether a cell is done; a control is, only for the network as it is now.

    Raises:
        UserError: the workdir of the network belongs to another config.
    """
    network = network_of(compared, cell)
    done = ablation_run.is_finished(compared, folder, network)
    if cell == network or not done:
        return done
    control = BY_NAME[cell.row.name]
    return is_recorded(workdir_of(folder, cell), workdir_of(folder, network), control)


def network_of(compared: ConfigDict, cell: Cell) -> Cell:
    """Return the cell of the network, with the same fold and seed."""
    return dataclasses.replace(cell, row=compared.rows[0])


def write_table(compared: ConfigDict, folder: pathlib.Path) -> pathlib.Path:
    """Write controls.md and controls.csv of the finished cells, and return the first."""
    cells = [cell for cell in all_cells(compared) if is_finished(compared, folder, cell)]
    figures = table.figures_of(cells, folder)
    atomic_files.write_text(folder / "controls.csv", table.table_csv(figures, compared))
    atomic_files.write_text(folder / "controls.md", table.markdown(figures, compared))
    return folder / "controls.md"
