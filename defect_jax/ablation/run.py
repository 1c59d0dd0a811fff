"""Running the cells: each in a process of its own, none twice, a killed one goes on."""

import contextlib
import fcntl
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Sequence

from ml_collections import ConfigDict

from defect_jax.ablation.grid import Cell, all_cells, cell_config, workdir_of
from defect_jax.runtime import signals
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import run_config

LAST_FILE = "eval/report.html"  # written last by a run


def run_all(ablation: ConfigDict, folder: pathlib.Path, arguments: Sequence[str]) -> None:
    """Run every cell that is not finished and that no other process is running.

    Start it as often as there are devices: each process takes the next free cell.

    Args:
        arguments: of this command; a cell is the same command with `--cell=NAME`.

    Raises:
        UserError: a cell could not begin; or cells failed, and the others were run all the same.
        SystemExit: 128 + signal, after SIGTERM or SIGINT, which the running cell is sent too.
    """
    cells = all_cells(ablation)
    for cell in cells:
        is_finished(ablation, folder, cell)  # a cell of another config is refused before any work
    failed = []
    with signals.deferred():
        for number, cell in enumerate(cells, 1):
            with claimed(folder, cell) as lock:
                if lock is None or is_finished(ablation, folder, cell):
                    continue
                say(f"cell {number} of {len(cells)}: {cell.name}")
                command = [sys.executable, "-m", "defect_jax.ablation", *arguments]
                if _run([*command, f"--cell={cell.name}"], lock):
                    refuse_if_not_begun(folder, cell)
                    failed.append(cell.name)
    if failed:
        raise UserError(f"{len(failed)} cells failed, see above: {', '.join(failed)}")


def refuse_if_not_begun(folder: pathlib.Path, cell: Cell) -> None:
    """Stop at a cell that failed before its first step: its data or config are at fault.

    Others would fail at the same. One that failed later, at a loss that is not finite for example,
    is a result, and the rest goes on.
    """
    if not workdir_of(folder, cell).exists():
        raise UserError(f"{cell.name} could not begin, see above")


def run_cell(ablation: ConfigDict, folder: pathlib.Path, wanted: str) -> None:
    """Run one cell in this process, from where it was cut off.

    Args:
        wanted: its name, or its number in the order of `all_cells`, from 0: an array task's index.

    Raises:
        UserError: there is no such cell.
    """
    from defect_jax.runtime import compilation
    from defect_jax.training.train import train

    cell = cell_named(all_cells(ablation), wanted)
    if is_finished(ablation, folder, cell):
        say(f"{cell.name} is finished")
        return
    config = cell_config(ablation, cell)
    compilation.start_cache(config.compilation_cache)
    train(config, workdir_of(folder, cell))


def cell_named(cells: Sequence[Cell], wanted: str) -> Cell:
    """Return the cell of that name, or of that number from 0.

    Raises:
        UserError: there is none.
    """
    by_name = {cell.name: cell for cell in cells} | {str(i): cell for i, cell in enumerate(cells)}
    if wanted not in by_name:
        raise UserError(f"--cell={wanted}: there are 0 to {len(cells) - 1}, see --list")
    return by_name[wanted]


def is_finished(ablation: ConfigDict, folder: pathlib.Path, cell: Cell) -> bool:
    """Return whether the cell's run is over.

    Raises:
        UserError: its workdir belongs to another config, so the table would mix two.
    """
    workdir = workdir_of(folder, cell)
    if not (workdir / LAST_FILE).exists():
        return False
    asked = cell_config(ablation, cell)
    run_config.refuse_differences(run_config.load(workdir), asked, workdir / "config.json")
    return True


@contextlib.contextmanager
def claimed(folder: pathlib.Path, cell: Cell) -> Iterator[int | None]:
    """Hold the cell's lock and yield its file number, None when another process has it.

    The process that runs the cell inherits the number: the lock outlives this process if it is
    killed alone, and never outlives the run.
    """
    path = folder / "cells" / f".{cell.name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise UserError(f"--workdir {folder}: cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file.fileno()


def _run(command: Sequence[str], lock: int) -> int:
    """Return the exit code of the command; a signal that comes meanwhile is passed on, and then
    obeyed.

    In a session of its own, or a Ctrl-C would reach it twice, and a second one ends a run at once.
    """
    sent = None
    with subprocess.Popen(command, pass_fds=(lock,), start_new_session=True) as process:
        while True:
            try:
                code = process.wait(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                if signals.came() is not None and sent is None:
                    sent = signals.came()
                    process.send_signal(sent)
    signals.check_preemption()
    return code
