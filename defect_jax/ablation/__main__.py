"""The ablation command: run what is missing, then write the table.

python -m defect_jax.ablation --config=configs/magnetic_tile_ablation.py:cpu \
    --config.base.data.root=magnetic_tile.tar
"""

import pathlib
import sys

from absl import flags

from defect_jax import command_line
from defect_jax.ablation.grid import all_cells
from defect_jax.ablation.run import is_finished, run_all, run_cell
from defect_jax.ablation.table import write_table
from defect_jax.command_line import chosen_workdir, given_config
from defect_jax.runtime.console import answer, say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import is_remote

EXAMPLE = "configs/magnetic_tile_ablation.py:cpu"
CELL = flags.DEFINE_string("cell", None, "Runs this cell alone: its name, or its number from 0.")
LIST = flags.DEFINE_bool("list", False, "Lists the cells and which are finished; runs nothing.")
TABLE = flags.DEFINE_bool("table", False, "Writes the table of what is finished; runs nothing.")


def run() -> None:
    """Run cells, or one, or none, and write the table of all that are finished."""
    ablation, folder = given_config(EXAMPLE), local_workdir()
    if LIST.value:
        for number, cell in enumerate(all_cells(ablation)):
            state = "finished" if is_finished(ablation, folder, cell) else "to run"
            answer(f"{number:4d}  {cell.name}  {state}")
        return
    if CELL.value is not None:
        run_cell(ablation, folder, CELL.value)
        return
    try:
        if not TABLE.value:
            run_all(ablation, folder, sys.argv[1:])
    finally:
        say(f"wrote {write_table(ablation, folder)}")


def local_workdir() -> pathlib.Path:
    """Return --workdir, or its default.

    Raises:
        UserError: it is in a bucket.
    """
    folder = chosen_workdir()
    if is_remote(folder):
        raise UserError(f"--workdir {folder}: an ablation locks its cells: give a local folder")
    return folder


if __name__ == "__main__":
    command_line.start(run, __doc__)
