"""Controls of an ablation: what they do to masks, their threshold, their cells, their command."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_ablation
from forked import leave_plots_empty
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from benchmarks.controls import cell as control_cell
from benchmarks.controls import post_processing as controls
from benchmarks.controls import run
from benchmarks.controls.post_processing import CONTROLS, Control
from benchmarks.controls.threshold import Binned, best_threshold, candidates
from defect_jax.ablation import Row, grid
from defect_jax.ablation import run as ablation_run
from defect_jax.configs import lpcnet_ablation, synthetic_gaps_ablation
from defect_jax.data.prepare.prepare import prepare
from defect_jax.decision import DecisionRule
from defect_jax.metrics.histogram import bin_index, lower_edge
from defect_jax.metrics.images import read_predictions
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import run_config

MASKS = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=12))
ROOT = pathlib.Path(__file__).parent.parent
COMMAND = "benchmarks.controls"
NAMES = ["closing_3", "closing_5", "fill_holes", "blur_5"]
PREDICTIONS = "eval/test/predictions.csv"
TIED = np.arange(1, 9, dtype=np.float32) / 10


@given(MASKS, st.sampled_from([1, 3, 5]))
def test_closing_is_that_of_an_image_in_endless_background(mask, px):
    expected = ndimage.binary_closing(np.pad(mask, px), np.ones((px, px)))[px:-px, px:-px]
    closed = controls.closing(px)(mask)
    np.testing.assert_array_equal(closed, expected)
    assert (closed >= mask).all()  # at the border too


def test_closing_joins_what_its_window_spans():
    mask = np.zeros((7, 9), bool)
    mask[3, [0, 3, 8]] = True
    assert np.flatnonzero(controls.closing(3)(mask)[3]).tolist() == [0, 1, 2, 3, 8]
    assert controls.closing(5)(mask)[3].all() and controls.closing(5)(mask).sum() == 9


@given(MASKS)
def test_holes_are_those_of_scipy(mask):
    np.testing.assert_array_equal(controls.fill_holes(mask), ndimage.binary_fill_holes(mask))


@given(
    npst.arrays(np.float32, (2, 6, 9), elements=st.floats(0, 1, width=32)), st.sampled_from([3, 5])
)
def test_blur_is_the_mean_of_a_mirrored_window(maps, px):
    expected = [ndimage.uniform_filter(plane.astype(np.float64), px) for plane in maps]
    np.testing.assert_allclose(controls.blur(px)(maps), expected, atol=1e-6)


@pytest.mark.parametrize("px", [0, 2])
def test_a_window_has_a_middle(px):
    with pytest.raises(UserError, match=r"odd side"):
        controls.closing(px)


def test_controls_compare_by_what_they_do():
    control = Control("a", "A", smooth=controls.blur(3), mend=controls.fill_holes)
    again = Control("a", "A", smooth=controls.blur(3), mend=controls.fill_holes)
    assert control == again and hash(control) == hash(again)
    assert control != dataclasses.replace(control, smooth=controls.blur(5))
    assert control.described() == {"smooth": "blurred(3 px)", "mend": "fill_holes"}


@pytest.fixture
def ablation():
    config = tiny_ablation.get_config("controls")
    config.unlock()
    return config


def test_controls_come_after_the_cells_they_take_from(ablation):
    ablation.seeds, ablation.folds = (0, 1), (3,)
    compared = run.with_controls(ablation)
    names = [cell.name for cell in grid.all_cells(compared)]
    of_seed = ["base", *NAMES]
    assert names == [f"{name}-fold_3-seed_{seed}" for seed in (0, 1) for name in of_seed]
    assert [cell.name for cell in run.control_cells(compared)] == [
        name for name in names if not name.startswith("base")
    ]
    assert [row.name for row in ablation.rows] == ["base"]  # the given config stays as it is


def test_controls_have_the_seeds_of_their_networks(ablation):
    ablation.seeds = (0, 1)
    ablation.rows = (Row("first", ""), Row("base", "", seeds=(1,)))
    cells = run.control_cells(run.with_controls(ablation))
    assert [cell.name for cell in cells] == [f"{name}-seed_1" for name in NAMES]


def test_controls_without_networks_are_refused(ablation):
    ablation.rows = (Row("fixed", ""),)
    with pytest.raises(UserError, match="rows: controls need the row 'base', and there is none"):
        run.with_controls(ablation)


def test_results_of_before_are_found():
    """Names and marks are those of the rows that these configs had."""
    described = {control.name: control.described() for control in CONTROLS}
    assert described == {
        "closing_3": {"smooth": "unchanged", "mend": "closed(3 px)"},
        "closing_5": {"smooth": "unchanged", "mend": "closed(5 px)"},
        "fill_holes": {"smooth": "unchanged", "mend": "fill_holes"},
        "blur_5": {"smooth": "blurred(5 px)", "mend": "unchanged"},
    }
    titles = ["closing 3 px", "closing 5 px", "holes filled", "blur 5 px"]
    assert [control.title for control in CONTROLS] == [f"control: {title}" for title in titles]
    cells = run.control_cells(run.with_controls(lpcnet_ablation.get_config("cpu")))
    assert len(cells) == 12 and cells[0].name == "closing_3-fold_0-seed_0"
    cells = run.control_cells(run.with_controls(synthetic_gaps_ablation.get_config("cpu")))
    assert len(cells) == 12 and cells[-1].name == "blur_5-seed_2"


def binned_images(elements):
    random = np.random.default_rng(0)
    for _ in range(3):
        probability = random.choice(elements, (8, 10)).astype(np.float32)
        bins = np.asarray(bin_index(jnp.asarray(probability))).astype(np.uint16)
        yield Binned(bins, random.random((8, 10)) < 0.2 + 0.6 * probability)


@pytest.mark.parametrize("elements", [TIED, np.random.default_rng(1).random(500)])
@pytest.mark.parametrize("mend", [controls.unchanged, controls.closing(3), controls.fill_holes])
def test_the_threshold_is_the_best_of_the_candidates(elements, mend):
    images = list(binned_images(elements))
    tried = []
    for level in candidates(images, own=0.3):
        threshold = lower_edge(int(level))
        masks = [mend(image.bins >= level) for image in images]
        truth = np.stack([image.truth for image in images])
        found, marked = np.sum(masks & truth), np.sum(masks)
        tried.append((2 * found / (marked + truth.sum()), found, -threshold))
    assert best_threshold(images, mend, 0.3) == -max(tried)[2]


def test_candidates_are_steps_of_recall_and_the_own_threshold():
    images = list(binned_images(np.random.default_rng(1).random(5000)))
    levels = candidates(images, own=0.001)
    found = np.concatenate([image.bins[image.truth] for image in images])
    recall = (found >= levels[:, None]).mean(axis=1)
    assert lower_edge(int(levels[0])) <= 0.001 and recall[0] == 1.0
    assert levels.size > 55 and np.abs(np.diff(recall)).max() < 2 / 64
    nothing = [Binned(image.bins, image.truth & False) for image in images]
    assert best_threshold(nothing, controls.unchanged, 0.4) == 0.4


@pytest.fixture(scope="module", params=[1, 4], ids=["one class", "four classes"])
def trained(request, tmp_path_factory):
    """An ablation with its only network trained, its rows and the controls', and its folder."""
    config = tiny_ablation.get_config("controls")
    config.unlock()
    config.base.data.data_dir = str(tmp_path_factory.mktemp("data"))
    config.base.model.num_classes = request.param
    config.metrics = ("seg_miou", "pixel_ap", "class_miou")
    folder = tmp_path_factory.mktemp("ablation")
    compared = run.with_controls(config)
    with pytest.raises(UserError, match="blur_5-seed_0 needs base-seed_0, which is not finished"):
        run.run_cell(compared, folder, run.control_cells(compared)[-1])
    with pytest.MonkeyPatch.context() as patch:
        leave_plots_empty(patch.setattr)
        ablation_run.run_cell(config, folder, "base-seed_0")
    return compared, folder


def test_the_control_that_does_nothing_judges_as_the_network_does(trained, tmp_path):
    _, folder = trained
    base = folder / "cells" / "base-seed_0"
    config, made = run_config.load(base), DecisionRule.from_json(base / "decision.json")
    prepared = prepare(config.data, needed={"test"})
    step, predict = control_cell._best_network(config, base)
    assert step == made.checkpoint_step
    mine = control_cell.write_results(
        tmp_path, predict, prepared, config, Control("no", ""), made.pixel_threshold, made
    )
    theirs = json.loads((base / "eval" / "test" / "metrics.json").read_text())
    assert mine == pytest.approx(theirs, abs=1e-6) and list(mine) == list(theirs)
    assert ("class_miou" in mine) == (config.model.num_classes > 1)
    images, expected = (
        read_predictions(where / "eval" / "test" / "predictions.csv") for where in (tmp_path, base)
    )
    assert [p[-3:] for p in images] == [p[-3:] for p in expected]
    assert any(image.predicted_px for image in images)


def test_controls_run_and_are_rows_of_the_table(trained):
    compared, folder = trained
    run.run_all(compared, folder)
    assert all(run.is_finished(compared, folder, cell) for cell in grid.all_cells(compared))
    assert not (folder / "cells" / "blur_5-seed_0" / "config.json").exists()
    text = run.write_table(compared, folder).read_text()
    assert text == (folder / "controls.md").read_text() and not (folder / "table.md").exists()
    assert text.count("| 1 of 1 |") == 5 and text.count("(0/1)") + text.count("(1/1)") > 0
    assert "Difference to “no part”, same fold and seed" in text
    assert ("| – |" in text) == (compared.base.model.num_classes == 1)
    mask_scores = [
        [p.mask_score for p in read_predictions(folder / "cells" / name / PREDICTIONS)]
        for name in ("base-seed_0", "blur_5-seed_0")
    ]
    assert mask_scores[0] == pytest.approx(mask_scores[1], abs=1e-6)  # which images, stays


def test_the_table_subtracts_the_network_of_the_same_seed(ablation, tmp_path):
    ablation.seeds = (0, 1)
    compared = run.with_controls(ablation)
    miou = {"base-seed_0": 0.5, "base-seed_1": 0.2, "closing_3-seed_1": 0.3}
    for cell in grid.all_cells(compared):
        if cell.name in miou:
            finish(compared, tmp_path, cell, miou[cell.name])
    text = run.write_table(compared, tmp_path).read_text()
    assert "| no part | 2 of 2 | 0.350 ± 0.212 | – |" in text
    assert "| control: closing 3 px | 1 of 2 | 0.300 | – |" in text
    assert "| control: closing 3 px | +0.100 (1/1) | – |" in text
    lines = (tmp_path / "controls.csv").read_text().splitlines()
    assert lines[3].startswith("closing_3,seg_miou,1,0.3,,1,0.09999999999999998,")


def test_a_control_of_another_network_is_not_finished(trained, monkeypatch):
    compared, folder = trained
    cell = run.control_cells(compared)[0]
    run.run_cell(compared, folder, cell)
    with monkeypatch.context() as patch:
        wider = dataclasses.replace(CONTROLS[0], mend=controls.closing(5))
        patch.setitem(run.BY_NAME, "closing_3", wider)
        assert not run.is_finished(compared, folder, cell)
    path = folder / "cells" / "base-seed_0" / "decision.json"
    kept = path.read_text()
    path.write_text(kept.replace('"checkpoint_step": ', '"checkpoint_step": 1'))
    assert not run.is_finished(compared, folder, cell)
    with pytest.raises(UserError, match="is the best checkpoint: evaluate it again"):
        run.run_cell(compared, folder, cell)
    path.write_text(kept)
    assert run.is_finished(compared, folder, cell)
    with compared.base.unlocked():
        compared.base.train.steps += 4
    with pytest.raises(UserError, match="base-seed_0/config.json.*train.steps"):
        run.is_finished(compared, folder, cell)
    with pytest.raises(UserError, match="base-seed_0/config.json.*train.steps"):
        run.run_all(compared, folder)
    compared.base.train.steps -= 4


def finish(compared, folder, cell, miou=0.5):
    """Leave what a finished cell leaves, as far as it is asked for."""
    workdir, network = (
        grid.workdir_of(folder, which) for which in (cell, run.network_of(compared, cell))
    )
    (workdir / "eval" / "test").mkdir(parents=True)
    figures = {"seg_miou": miou, "seg_fpr": None}
    (workdir / "eval" / "test" / "metrics.json").write_text(json.dumps(figures))
    if workdir == network:
        config = grid.cell_config(compared, cell).to_dict()
        (workdir / "config.json").write_text(json.dumps(config))
        (workdir / "eval" / "report.html").write_text("")
    else:
        control_cell.write_record(workdir, network, run.BY_NAME[cell.row.name])


def test_a_control_waits_and_its_failure_stops_nothing(ablation, tmp_path, monkeypatch):
    ablation.seeds = (0, 1)
    compared = run.with_controls(ablation)
    started = []

    def fail(control, workdir, base, asked):
        started.append((control.name, workdir.name, base.name, asked.seed))
        raise UserError("broken")

    monkeypatch.setattr(run, "run_control", fail)
    run.run_all(compared, tmp_path)
    assert started == []

    base = {cell.name: cell for cell in grid.all_cells(compared)}["base-seed_1"]
    finish(compared, tmp_path, base)
    failed = ", ".join(f"{name}-seed_1" for name in NAMES)
    with pytest.raises(UserError, match=f"4 controls failed, see above: {failed}"):
        run.run_all(compared, tmp_path)
    assert started == [(name, f"{name}-seed_1", "base-seed_1", 1) for name in NAMES]


def test_a_control_is_made_by_one_process_and_once(ablation, tmp_path, monkeypatch):
    compared, started = run.with_controls(ablation), []

    def record(control, workdir, base, asked):
        started.append(control.name)
        control_cell.write_record(workdir, base, control)

    monkeypatch.setattr(run, "run_control", record)
    base, *cells = grid.all_cells(compared)
    finish(compared, tmp_path, base)
    with ablation_run.claimed(tmp_path, cells[1]):
        run.run_all(compared, tmp_path)
    assert started == [NAMES[0], *NAMES[2:]]
    run.run_all(compared, tmp_path)
    run.run_all(compared, tmp_path)
    assert started == [NAMES[0], *NAMES[2:], NAMES[1]]


def arguments(folder, data, *more):
    config = ("--config=tests/tiny_ablation.py:controls", f"--config.base.data.data_dir={data}")
    return f"--workdir={folder}", *more, *config


def start(*arguments):
    command = [sys.executable, "-m", COMMAND, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)


def test_a_killed_command_goes_on_and_runs_nothing_twice(forked, tmp_path):
    out, data = tmp_path / "out", tmp_path / "data"

    def run(*more, module=COMMAND):
        result = forked.run(*arguments(out, data, *more), module=module)
        text = result.stdout + result.stderr
        assert result.returncode == 0, text
        return text

    run("--cell=base-seed_0", module="defect_jax.ablation")
    first, last = (
        out / "cells" / f"{name}-seed_0" / "control.json" for name in (NAMES[0], NAMES[-1])
    )
    process = start(*arguments(out, data))
    while not first.exists():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    text = process.communicate(timeout=600)[0]
    code = process.returncode
    assert code == 128 + signal.SIGTERM and "stopped by signal 15" in text, text
    assert not last.exists()
    made = first.stat()

    text = run("--list")
    assert "0  closing_3-seed_0  finished" in text and "blur_5-seed_0  to run" in text
    text = run()
    assert "control 4 of 4: blur_5-seed_0" in text, text
    assert "closing_3-seed_0" not in text and first.stat() == made
    assert (out / "controls.md").read_text().count("| 1 of 1 |") == 5
    assert (out / "controls.csv").read_text().count("\n") == 11

    last.unlink()
    run("--table")
    assert not last.exists()
    assert (out / "controls.md").read_text().count("| 1 of 1 |") == 4
    run("--cell=3")
    assert last.exists()
