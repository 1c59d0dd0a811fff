"""metrics.jsonl: whole lines, nulls for what is not defined, no doubles after a resume."""

import json
import struct

import numpy as np
from ml_collections import ConfigDict
from tensorboardX.proto import event_pb2
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from defect_jax.workdir.best_weights import read_history
from defect_jax.workdir.metrics_writer import MetricsWriter, write_outcome


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


def board(tmp_path):
    """What TensorBoard's files hold, in the order of their writing."""
    paths = sorted((tmp_path / "tensorboard").glob("events.*"), key=lambda path: path.name)
    return [value for path in paths for value in values_of(path.read_bytes())]


def values_of(data):
    """The values of an event file: records of length, CRC, bytes, CRC."""
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield from event_pb2.Event.FromString(data[12 : 12 + length]).summary.value
        data = data[16 + length :]


def test_the_outcome_and_the_config_are_on_the_board(tmp_path):
    config = ConfigDict({"seed": 3, "track": "", "data": {"name": "synthetic", "size": (32, 32)}})
    metrics = {"images": 60, "recall": 0.5, "precision": None}
    write_outcome(tmp_path, 8, config, metrics)
    values = board(tmp_path)
    assert {v.tag: v.simple_value for v in values if not v.tag.startswith("_")} == {
        "test/images": 60.0,
        "test/recall": 0.5,
    }
    content = next(v for v in values if v.tag == "_hparams_/session_start_info").metadata
    given = HParamsPluginData.FromString(content.plugin_data.content).session_start_info.hparams
    assert given["seed"].number_value == 3
    assert given["data.name"].string_value == "synthetic"
    assert given["data.size"].string_value == "[32, 32]"


def test_images_are_on_the_board(tmp_path):
    with MetricsWriter(tmp_path, [], 0) as writer:
        writer.image(4, "val/part", np.zeros((5, 9, 3), np.uint8))
    (value,) = board(tmp_path)
    assert (value.tag, value.image.height, value.image.width) == ("val/part", 5, 9)


def test_no_file_is_no_history(tmp_path):
    assert read_history(tmp_path) == []
