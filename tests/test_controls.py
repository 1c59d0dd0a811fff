"""Controls of an ablation: what they do to masks, their threshold, their cells."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_ablation
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from defect_jax import configuration
from defect_jax.ablation import Control, Row, control_cell, controls, grid, run, table
from defect_jax.ablation.control_threshold import Binned, best_threshold, candidates
from defect_jax.data.prepare import prepare
from defect_jax.decision import DecisionRule
from defect_jax.errors import UserError
from defect_jax.metrics.histogram import bin_index, lower_edge
from defect_jax.metrics.picture import read_predictions

MASKS = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=12))
PREDICTIONS = "eval/test/predictions.csv"
TIED = np.arange(1, 9, dtype=np.float32) / 10


@given(MASKS, st.sampled_from([1, 3, 5]))
def test_closing_is_that_of_a_picture_in_endless_background(mask, px):
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
    control = Control("fixed", smooth=controls.blur(3), mend=controls.fill_holes)
    assert control == Control("fixed", smooth=controls.blur(3), mend=controls.fill_holes)
    assert control != dataclasses.replace(control, smooth=controls.blur(5))
    assert hash(Row("a", "A", control=control)) == hash(Row("a", "A", control=control))
    assert control.described() == {"smooth": "blurred(3 px)", "mend": "fill_holes"}


@pytest.fixture
def ablation():
    config = tiny_ablation.get_config("controls")
    config.unlock()
    return config


def test_controls_come_after_the_cells_they_take_from(ablation):
    ablation.seeds = (0, 1)
    ablation.rows = (*ablation.rows, Row("late", "", control=Control("fixed"), seeds=(1,)))
    names = [cell.name for cell in grid.all_cells(ablation)]
    of_seed = ["fixed", "closing", "filling", "blur"]
    expected = [f"{name}-seed_0" for name in of_seed] + [f"{name}-seed_1" for name in of_seed]
    assert names == [*expected, "late-seed_1"]


def test_a_control_has_the_seeds_of_its_row(ablation):
    ablation.seeds = (0, 1)
    ablation.rows = (Row("one", "", seeds=(1,)), Row("same", "", control=Control("one")))
    assert [cell.name for cell in grid.all_cells(ablation)] == ["one-seed_1", "same-seed_1"]


@pytest.mark.parametrize(
    "row, message",
    [
        (Row("odd", "", control=Control("fixd")), "control of 'fixd', which is no row that trains"),
        (Row("odd", "", control=Control("blur")), "control of 'blur', which is no row that trains"),
        (Row("odd", "", control=Control("odd")), "control of 'odd', which is no row that trains"),
        (Row("odd", "", {"seed": 1}, control=Control("fixed")), "changes nothing in the config"),
        (Row("odd", "", seeds=(0, 7), control=Control("fixed")), "there is no seed 7 of 'fixed'"),
    ],
)
def test_a_control_without_a_network_is_refused(ablation, row, message):
    ablation.rows = (*ablation.rows, row)
    with pytest.raises(UserError, match=f"row 'odd': .*{message}"):
        grid.all_cells(ablation)


def binned_pictures(elements):
    random = np.random.default_rng(0)
    for _ in range(3):
        probability = random.choice(elements, (8, 10)).astype(np.float32)
        bins = np.asarray(bin_index(jnp.asarray(probability))).astype(np.uint16)
        yield Binned(bins, random.random((8, 10)) < 0.2 + 0.6 * probability)


@pytest.mark.parametrize("elements", [TIED, np.random.default_rng(1).random(500)])
@pytest.mark.parametrize("mend", [controls.unchanged, controls.closing(3), controls.fill_holes])
def test_the_threshold_is_the_best_of_the_candidates(elements, mend):
    pictures = list(binned_pictures(elements))
    tried = []
    for level in candidates(pictures, own=0.3):
        threshold = lower_edge(int(level))
        masks = [mend(picture.bins >= level) for picture in pictures]
        truth = np.stack([picture.truth for picture in pictures])
        found, marked = np.sum(masks & truth), np.sum(masks)
        tried.append((2 * found / (marked + truth.sum()), found, -threshold))
    assert best_threshold(pictures, mend, 0.3) == -max(tried)[2]


def test_candidates_are_steps_of_recall_and_the_own_threshold():
    pictures = list(binned_pictures(np.random.default_rng(1).random(5000)))
    levels = candidates(pictures, own=0.001)
    found = np.concatenate([picture.bins[picture.truth] for picture in pictures])
    recall = (found >= levels[:, None]).mean(axis=1)
    assert lower_edge(int(levels[0])) <= 0.001 and recall[0] == 1.0
    assert levels.size > 55 and np.abs(np.diff(recall)).max() < 2 / 64
    nothing = [Binned(picture.bins, picture.truth & False) for picture in pictures]
    assert best_threshold(nothing, controls.unchanged, 0.4) == 0.4


@pytest.fixture(scope="module", params=[1, 4], ids=["one class", "four classes"])
def trained(request, tmp_path_factory):
    """An ablation with its only network trained, and its folder."""
    config = tiny_ablation.get_config("controls")
    config.unlock()
    config.base.data.data_dir = str(tmp_path_factory.mktemp("data"))
    config.base.model.num_classes = request.param
    folder = tmp_path_factory.mktemp("ablation")
    with pytest.raises(UserError, match="blur-seed_0 needs fixed-seed_0, which is not finished"):
        run.run_cell(config, folder, "blur-seed_0")
    run.run_cell(config, folder, "fixed-seed_0")
    return config, folder


def test_the_control_that_does_nothing_judges_as_the_network_does(trained, tmp_path):
    _, folder = trained
    base = folder / "cells" / "fixed-seed_0"
    config, made = configuration.load(base), DecisionRule.from_json(base / "decision.json")
    prepared = prepare(config.data, needed={"test"})
    step, predict = control_cell._best_network(config, base)
    assert step == made.checkpoint_step
    mine = control_cell.write_results(
        tmp_path, predict, prepared, config, Control("fixed"), made.pixel_threshold, made
    )
    theirs = json.loads((base / "eval" / "test" / "metrics.json").read_text())
    assert mine == pytest.approx(theirs, abs=1e-6) and list(mine) == list(theirs)
    assert ("class_miou" in mine) == (config.model.num_classes > 1)
    pictures, expected = (
        read_predictions(where / "eval" / "test" / "predictions.csv") for where in (tmp_path, base)
    )
    assert [p[-3:] for p in pictures] == [p[-3:] for p in expected]
    assert any(picture.predicted_px for picture in pictures)


def test_controls_run_and_are_rows_of_the_table(trained):
    ablation, folder = trained
    ablation.metrics = ("seg_miou", "pixel_ap", "class_miou")
    cells = grid.all_cells(ablation)
    for cell in cells:
        run.run_cell(ablation, folder, cell.name)
        assert run.is_finished(ablation, folder, cell)
    assert not (folder / "cells" / "blur-seed_0" / "config.json").exists()
    ablation.rows = (ablation.rows[-1], *ablation.rows[:-1])
    text = table.write_table(ablation, folder).read_text()
    assert text.count("| 1 of 1 |") == 4 and text.count("(0/1)") + text.count("(1/1)") > 0
    assert ("| – |" in text) == (ablation.base.model.num_classes == 1)
    mask_scores = [
        [p.mask_score for p in read_predictions(folder / "cells" / name / PREDICTIONS)]
        for name in ("fixed-seed_0", "blur-seed_0")
    ]
    assert mask_scores[0] == pytest.approx(mask_scores[1], abs=1e-6)  # which pictures, stays


def test_a_control_of_another_network_is_not_finished(trained):
    ablation, folder = trained
    cell = next(cell for cell in grid.all_cells(ablation) if cell.row.name == "closing")
    run.run_cell(ablation, folder, cell.name)
    wider = dataclasses.replace(cell.row, control=Control("fixed", mend=controls.closing(5)))
    assert not run.is_finished(ablation, folder, dataclasses.replace(cell, row=wider))
    path = folder / "cells" / "fixed-seed_0" / "decision.json"
    kept = path.read_text()
    path.write_text(kept.replace('"checkpoint_step": ', '"checkpoint_step": 1'))
    assert not run.is_finished(ablation, folder, cell)
    with pytest.raises(UserError, match="is the best checkpoint: evaluate it again"):
        run.run_cell(ablation, folder, cell.name)
    path.write_text(kept)
    assert run.is_finished(ablation, folder, cell)
    with ablation.base.unlocked():
        ablation.base.train.steps += 4
    with pytest.raises(UserError, match="fixed-seed_0/config.json.*train.steps"):
        run.is_finished(ablation, folder, cell)
    ablation.base.train.steps -= 4


def test_a_control_waits_and_its_failure_stops_nothing(ablation, tmp_path, monkeypatch):
    cells = {cell.name: cell for cell in grid.all_cells(ablation)}
    started = []

    def fail(command, lock):
        started.append(command[-1].removeprefix("--cell="))
        grid.workdir_of(tmp_path, cells["fixed-seed_0"]).mkdir(exist_ok=True)
        return 2

    monkeypatch.setattr(run, "_run", fail)
    with pytest.raises(UserError, match="1 cells failed, see above: fixed-seed_0"):
        run.run_all(ablation, tmp_path, [])
    assert started == ["fixed-seed_0"]

    workdir = grid.workdir_of(tmp_path, cells["fixed-seed_0"])
    (workdir / "eval").mkdir()
    config = grid.cell_config(ablation, cells["fixed-seed_0"])
    (workdir / "config.json").write_text(json.dumps(config.to_dict()))
    (workdir / "eval" / "report.html").write_text("")
    with pytest.raises(UserError, match="3 cells failed"):
        run.run_all(ablation, tmp_path, [])
    assert started[1:] == ["closing-seed_0", "filling-seed_0", "blur-seed_0"]
