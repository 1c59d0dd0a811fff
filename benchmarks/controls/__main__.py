"""The command: run the controls that are missing, then write controls.md and controls.csv.

The flags are those of `defect_jax.ablation`. `--list` and `--cell` count controls alone.
"""

from benchmarks.controls.run import (
    control_cells,
    is_finished,
    run_all,
    run_cell,
    with_controls,
    write_table,
)
from defect_jax import command_line
from defect_jax.ablation.__main__ import CELL, LIST, TABLE, local_workdir
from defect_jax.ablation.run import cell_named
from defect_jax.command_line import given_config
from defect_jax.runtime.console import say

EXAMPLE = "configs/lpcnet_ablation.py:cpu"


def run() -> None:
    """Run controls, or one, or none, and write the table of all that are finished."""
    compared, folder = with_controls(given_config(EXAMPLE)), local_workdir()
    cells = control_cells(compared)
    if LIST.value:
        for number, cell in enumerate(cells):
            state = "finished" if is_finished(compared, folder, cell) else "to run"
            print(f"{number:4d}  {cell.name}  {state}")
        return
    if CELL.value is not None:
        run_cell(compared, folder, cell_named(cells, CELL.value))
        return
    try:
        if not TABLE.value:
            run_all(compared, folder)
    finally:
        say(f"wrote {write_table(compared, folder)}")


if __name__ == "__main__":
    command_line.start(run, __doc__)
