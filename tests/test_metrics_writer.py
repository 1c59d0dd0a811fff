"""metrics.jsonl: whole lines, nulls for what is not defined, no doubles after a resume."""

import json

import numpy as np

from defect_jax.workdir.best_weights import read_history
from defect_jax.workdir.metrics_writer import MetricsWriter


def test_lines_round_trip_and_undefined_numbers_are_null(tmp_path):
    with MetricsWriter(tmp_path, [], 0) as writer:
        writer.write(5, "train", {"loss": np.float32(0.5), "other": None, "third": float("nan")})
        writer.rate(5, 12.0)
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text) == {
        "step": 5,
        "split": "train",
        "loss": 0.5,
        "other": None,
        "third": None,
    }
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_resumed_run_drops_lines_after_its_checkpoint_and_a_torn_last_line(tmp_path):
    with MetricsWriter(tmp_path, [], 0) as writer:
        for step in (2, 4, 6):
            writer.write(step, "train", {"loss": 1.0 / step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "spl')
    with MetricsWriter(tmp_path, read_history(tmp_path), 4) as writer:
        writer.write(6, "train", {"loss": 9.0})
    history = read_history(tmp_path)
    assert [line["step"] for line in history] == [2, 4, 6]
    assert history[-1]["loss"] == 9.0


def test_no_file_is_no_history(tmp_path):
    assert read_history(tmp_path) == []
