"""The log of a run: means over its window, and the stop at the first number that is not finite."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from defect_jax.configs import synthetic
from defect_jax.runtime.errors import UserError
from defect_jax.training.step_log import TrainingLog, check_finite, refuse_no_numbers
from defect_jax.workdir.best_weights import read_history
from defect_jax.workdir.metrics_writer import MetricsWriter


def test_lines_hold_the_mean_of_their_window(tmp_path):
    config = synthetic.get_config("debug")  # a line every two steps
    with MetricsWriter(tmp_path, [], 0) as writer:
        log = TrainingLog(writer, config, 0)
        for step, loss in enumerate([1.0, 3.0, 5.0, 9.0], 1):
            log.note(step, {"loss": jnp.array(loss)})
        assert len(read_history(tmp_path)) == 1  # the last step is looked at one step later
        log.flush()
    assert [line["loss"] for line in read_history(tmp_path)] == [2.0, 7.0]


def test_a_log_that_goes_on_between_two_lines_writes_the_same_line(tmp_path):
    config = synthetic.get_config("debug")
    losses = [np.float32(0.1), np.float32(0.7), np.float32(1 / 3), np.float32(2 / 7)]
    for name, stops in (("whole", ()), ("twice", (1, 3))):
        (tmp_path / name).mkdir()
        with MetricsWriter(tmp_path / name, [], 0) as writer:
            log = TrainingLog(writer, config, 0)
            for step, loss in enumerate(losses, 1):
                log.note(step, {"loss": jnp.array(loss)})
                if step in stops:
                    log.flush()
                    unlogged = json.loads(json.dumps(log.unlogged))  # as a checkpoint holds it
                    log = TrainingLog(writer, config, step, unlogged)
            log.flush()
    assert read_history(tmp_path / "twice") == read_history(tmp_path / "whole")
    assert len(read_history(tmp_path / "whole")) == 2


def test_a_step_is_finished_when_its_results_are_there(tmp_path):
    with MetricsWriter(tmp_path, [], 0) as writer:
        log = TrainingLog(writer, synthetic.get_config("debug"), 6)
        finished = [log.finished_step]
        for step in (7, 8, 9):
            log.note(step, {"loss": jnp.array(1.0)})
            finished.append(log.finished_step)
            assert log.loss == ("" if step == 7 else "loss 1.000")
        log.flush()
    assert [*finished, log.finished_step] == [6, 6, 7, 8, 9]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_first_bad_loss_stops_the_run_and_names_step_and_task(bad, tmp_path):
    numbers = {"gradient_norm": bad, "loss": bad, "loss_classification": 0.1}
    with pytest.raises(UserError, match=f"step 7: the loss of task segmentation is {bad}; lower"):
        check_finite(7, numbers | {"loss_segmentation": bad})
    with pytest.raises(UserError, match="step 7: the gradient norm is"):
        check_finite(7, {"gradient_norm": bad, "loss": 0.5, "loss_segmentation": 0.5})
    check_finite(7, {"loss": 0.5})


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers_are_neither_saved_nor_compared(bad):
    weights = {"params": {"a": jnp.zeros(3), "b": jnp.array([0.0, bad])}}
    with pytest.raises(UserError, match="step 8: the weights params/b are no numbers; lower"):
        refuse_no_numbers(8, weights)
    refuse_no_numbers(8, {"params": {"a": jnp.zeros(3)}})
