"""Cells, the order they run in, the table; and the command, killed and started again."""

import ast
import csv
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import tiny_ablation
from scipy import stats

from defect_jax.ablation import Row, grid, run, table
from defect_jax.configs import (
    lite_ablation,
    lpcnet_ablation,
    magnetic_tile_ablation,
    sampling_ablation,
    synthetic_gaps_ablation,
)
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import run_config

ROOT = pathlib.Path(__file__).parent.parent
FIRST = {(0, 0): 0.50, (0, 1): 0.40, (0, 2): 0.60, (1, 0): 0.20}
OTHER = {(0, 0): 0.55, (0, 1): 0.47, (0, 2): 0.66}


@pytest.fixture
def ablation():
    config = tiny_ablation.get_config()
    config.unlock()
    return config


def figures(ablation):
    """Cells of two rows; the first row has one more."""
    first, other = ablation.rows
    return {
        grid.Cell(row, *key): {"seg_miou": value, "seg_fpr": 1 - value}
        for row, values in ((first, FIRST), (other, OTHER))
        for key, value in values.items()
    }


@pytest.mark.parametrize("variant", ["", "cpu", "debug"])
@pytest.mark.parametrize(
    "module", [lite_ablation, lpcnet_ablation, sampling_ablation, synthetic_gaps_ablation]
)
def test_every_shipped_row_of_the_two_stages_fits_its_base_config(module, variant):
    ablation = module.get_config(variant)
    cells = grid.all_cells(ablation)
    assert len({cell.name for cell in cells}) == len(cells)
    for cell in cells:
        run_config.check_values(grid.cell_config(ablation, cell))
    changed = [row.changes for row in ablation.rows]
    assert all(changed.count(changes) == 1 for changes in changed)


def test_pairs_of_fold_and_seed_stand_in_place_of_all_with_all():
    ablation = lpcnet_ablation.get_config("cpu")
    pairs = {(cell.fold, cell.seed) for cell in grid.all_cells(ablation)}
    assert pairs == {(0, 0), (1, 1), (2, 2)}
    assert len(grid.all_cells(ablation)) == 3 * len(ablation.rows)
    every = grid.all_cells(lpcnet_ablation.get_config())
    assert len(every) == 5 * 3 * len(ablation.rows)


def test_every_shipped_row_fits_its_base_config():
    for variant in ("", "cpu", "debug"):
        ablation = magnetic_tile_ablation.get_config(variant)
        cells = grid.all_cells(ablation)
        assert len({cell.name for cell in cells}) == len(cells)
        for row in ablation.rows:
            config = grid.cell_config(ablation, grid.Cell(row, 3, 7))
            run_config.check_values(config)
            assert (config.seed, config.data.fold) == (7, 3)
        names = {row.name: row for row in ablation.rows}
        changed = grid.cell_config(ablation, grid.Cell(names["gradnorm-0.5"], 0, 0))
        assert (changed.balance.method, changed.balance.gradnorm.alpha) == ("gradnorm", 0.5)
        assert ablation.base.balance.method == "fixed"


def test_first_seeds_of_all_rows_come_first():
    cells = grid.all_cells(magnetic_tile_ablation.get_config("cpu"))
    seeds = [cell.seed for cell in cells]
    assert seeds == sorted(seeds) and len(cells) == 34
    assert cells[0].name == "fixed-fold_0-seed_0"


def test_a_change_of_no_field_is_named(ablation):
    row = Row("odd", "odd", {"model": {"atention": "none"}})
    with pytest.raises(UserError, match="row 'odd': the config has no field 'model.atention'"):
        grid.cell_config(ablation, grid.Cell(row, None, 0))


@pytest.mark.parametrize("name", ["fixed", "two words", "a/b"])
def test_rows_need_names_that_a_folder_can_have(ablation, name):
    ablation.rows = (*ablation.rows, Row(name, "x"))
    with pytest.raises(UserError, match="must be a name of its own"):
        grid.all_cells(ablation)


def test_differences_are_paired_by_fold_and_seed(ablation):
    first, other = ablation.rows
    change = table.difference(figures(ablation), other, first, "seg_miou")
    pairs = [key for key in OTHER]
    expected = stats.ttest_rel([OTHER[k] for k in pairs], [FIRST[k] for k in pairs])
    assert change.spread.mean / change.spread.standard_error == pytest.approx(expected.statistic)
    assert (change.spread.count, change.better, change.is_clear) == (3, 3, True)
    assert str(change) == "**+0.060 ± 0.006** (3/3)"
    worse = table.difference(figures(ablation), other, first, "seg_fpr")
    assert worse.better == 3  # fewer false alarms are better


def test_spread_is_the_sample_deviation_and_leaves_out_what_is_not_defined(ablation):
    own = table.spread(figures(ablation), ablation.rows[0], "seg_miou")
    assert own.mean == pytest.approx(0.425) and own.deviation == pytest.approx(0.170783, abs=1e-6)
    assert str(own) == "0.425 ± 0.171"
    assert str(table.Spread.of([None])) == "–" and str(table.Spread.of([0.5, None])) == "0.500"


def test_the_tables_have_a_line_a_row(ablation):
    text = table.markdown(figures(ablation), ablation)
    assert "| fixed 0.5/0.5 | 4 of 1 | 0.425 ± 0.171 | 0.575 ± 0.171 |" in text
    assert "| MGDA | **+0.060 ± 0.006** (3/3) | **-0.060 ± 0.006** (3/3) |" in text
    rows = list(csv.DictReader(table.table_csv(figures(ablation), ablation).splitlines()))
    assert [(r["row"], r["metric"], r["cells"], r["pairs"]) for r in rows] == [
        ("fixed", "seg_miou", "4", "4"),
        ("fixed", "seg_fpr", "4", "4"),
        ("mgda", "seg_miou", "3", "3"),
        ("mgda", "seg_fpr", "3", "3"),
    ]
    cells = list(csv.DictReader(table.cells_csv(figures(ablation), ablation.metrics).splitlines()))
    assert len(cells) == 7 and cells[-1]["seg_miou"] == "0.66"


def finish(ablation, folder, cell):
    """Leaves what a finished run leaves."""
    workdir = grid.workdir_of(folder, cell)
    (workdir / "eval" / "test").mkdir(parents=True)
    config = grid.cell_config(ablation, cell).to_dict()
    (workdir / "config.json").write_text(json.dumps(config))
    (workdir / "eval" / "test" / "metrics.json").write_text('{"seg_miou": 0.5, "seg_fpr": null}')
    (workdir / "eval" / "report.html").write_text("")


def test_the_table_is_of_what_is_finished(ablation, tmp_path):
    finish(ablation, tmp_path, grid.all_cells(ablation)[1])
    text = table.write_table(ablation, tmp_path).read_text()
    assert "| fixed 0.5/0.5 | 0 of 1 | – | – |" in text and "| MGDA | 1 of 1 | 0.500 | – |" in text


def test_cells_that_were_trained_on_other_images_are_not_compared(ablation, tmp_path):
    cells = grid.all_cells(ablation)
    for cell, split in zip(cells, ("test,a", "test,a"), strict=True):
        finish(ablation, tmp_path, cell)
        (grid.workdir_of(tmp_path, cell) / "split.csv").write_text(split)
    table.write_table(ablation, tmp_path)
    (grid.workdir_of(tmp_path, cells[1]) / "split.csv").write_text("test,a\ntest,b")
    refused = "mgda-seed_0/split.csv: the images .* not those that fixed-seed_0 was trained with"
    with pytest.raises(UserError, match=refused):
        table.write_table(ablation, tmp_path)


def test_a_cell_of_another_config_is_refused_before_any_work(ablation, tmp_path):
    finish(ablation, tmp_path, grid.all_cells(ablation)[1])
    ablation.base.train.steps = 6
    with pytest.raises(UserError, match="mgda-seed_0/config.json.*train.steps was 4, is 6"):
        run.run_all(ablation, tmp_path, [])


def test_a_cell_is_held_by_one_process(ablation, tmp_path):
    cell = grid.all_cells(ablation)[0]
    with run.claimed(tmp_path, cell) as first, run.claimed(tmp_path, cell) as second:
        assert first is not None and second is None
    with run.claimed(tmp_path, cell) as again:
        assert again is not None


@pytest.mark.parametrize("begun", [False, True])
def test_a_failed_cell_stops_the_rest_only_if_it_could_not_begin(
    ablation, tmp_path, monkeypatch, begun
):
    started = []

    def fail(command, *rest):
        cell = grid.all_cells(ablation)[len(started)]
        started.append(cell.name)
        assert command[-1] == f"--cell={cell.name}"
        if begun:
            grid.workdir_of(tmp_path, cell).mkdir()
        return 2

    monkeypatch.setattr(run, "_run", fail)
    message = "2 cells failed, see above: fixed-seed_0, mgda-seed_0" if begun else "could not begin"
    with pytest.raises(UserError, match=message):
        run.run_all(ablation, tmp_path, [])
    assert len(started) == (2 if begun else 1)


def test_an_unknown_cell_is_named(ablation, tmp_path):
    with pytest.raises(UserError, match="--cell=9: there are 0 to 1"):
        run.run_cell(ablation, tmp_path, "9")


def start(*arguments):
    command = [sys.executable, "-m", "defect_jax.ablation", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)


def test_a_killed_command_goes_on_and_runs_nothing_twice(forked, tmp_path):
    """Commands after the killed one are forks; the cells that they run are processes of their own
    all the same."""
    arguments = (
        f"--workdir={tmp_path / 'out'}",
        "--config=tests/tiny_ablation.py:long",
        f"--config.base.data.data_dir={tmp_path / 'data'}",
    )
    history = tmp_path / "out" / "cells" / "fixed-seed_0" / "metrics.jsonl"
    process = start(*arguments)
    while not (history.exists() and history.read_text()):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    text = "".join(process.communicate(timeout=600))
    assert process.returncode == 128 + signal.SIGTERM, text
    assert "stopped by signal 15" in text

    def run(*more):
        result = forked.run(*arguments, *more, module="defect_jax.ablation")
        text = result.stdout + result.stderr
        assert result.returncode == 0, text
        return text

    text = run()
    assert "going on from step" in text and "cell 2 of 2: mgda-seed_0" in text
    assert "2 of" not in (tmp_path / "out" / "table.md").read_text()
    text = run()
    assert "cell" not in text.replace("cells", ""), text
    assert run("--list").count("finished") == 2


def test_the_package_knows_no_benchmark_and_no_control():
    """It trains every row; what post-processes masks is in benchmarks/controls."""
    folder = pathlib.Path(grid.__file__).parent
    names = ["__init__", "__main__", "grid", "run", "table"]
    assert sorted(path.stem for path in folder.glob("*.py")) == names
    for path in folder.glob("*.py"):
        assert "control" not in path.read_text().lower()
        for node in ast.walk(ast.parse(path.read_text())):
            imported = [node.module] if isinstance(node, ast.ImportFrom) else []
            imported += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.split(".")[0] == "benchmarks" for name in imported)
    fields = [field.name for field in dataclasses.fields(Row)]
    assert fields == ["name", "title", "changes", "seeds"]


def test_cells_are_compared_by_name_alone():
    row = Row("a", "A", {"x": {"y": 1}})
    assert hash(row) == hash(dataclasses.replace(row, changes={}))
