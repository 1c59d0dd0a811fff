"""Weights & Biases and MLflow without a network: what they are given is what they have."""

import importlib
import json
import os
import shutil
import signal
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from ml_collections import ConfigDict
from PIL import Image

from defect_jax.runtime.errors import UserError
from defect_jax.workdir import trackers
from defect_jax.workdir.best_weights import SELECTION, read_history
from defect_jax.workdir.metrics_writer import MetricsWriter, open_writer, write_outcome
from defect_jax.workdir.trackers import Tracker, open_tracker, refuse_missing

BLOCK, HEADER, WHOLE, FIRST, LAST = 32768, 7, 1, 2, 4  # of a .wandb file, a log as LevelDB's
PICTURE = np.random.default_rng(0).integers(0, 256, (5, 9, 3), np.uint8)
OUTCOME = {"images": 60, "recall": 1 / 3, "precision": None, "iou/Riß (fein)": 0.25}
NOWHERE = "http://127.0.0.1:9"  # where nothing listens
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)


def config_of(track):
    fields = {"train": {"steps": 8}, "data": {"root": "/home/me/parts", "size": (32, 32)}}
    return ConfigDict(fields | {"seed": 3, "track": track})


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """Nothing of whoever tests: neither settings and keys, nor caches."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for kind in ("CONFIG", "CACHE", "DATA", "ARTIFACT"):
        monkeypatch.setenv(f"WANDB_{kind}_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for tracker in trackers.TRACKERS.values():  # as they set it, and taken away again
        for name, value in tracker.environment.items():
            monkeypatch.setenv(name, value)


@pytest.fixture(scope="module", autouse=True)
def ended():
    """The process that W&B starts ends with these tests."""
    yield
    importlib.import_module("wandb").teardown()


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "run ü").mkdir()
    return tmp_path / "run ü"


def write_steps(workdir, config, first, steps, losses=1.0):
    """A training from a step on: a line at each step, at every fourth one a validation."""
    with open_writer(workdir, read_history(workdir), first, config) as writer:
        for step in steps:
            writer.write(step, "train", {"loss": losses / (step + 2), "undefined": None})
            if step % 4 == 0:
                writer.write(step, "val", {SELECTION: np.float32(0.1) * step})
                writer.image(step, "val/part (1)", PICTURE)


# Weights & Biases.


def records(path):
    """The records of a .wandb file, whose parts do not cross the ends of blocks."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), HEADER, b""
    while at + HEADER < len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
        length, kind = struct.unpack("<HB", data[at + 4 : at + HEADER])
        part = data[at + HEADER : at + HEADER + length]
        whole = part if kind in (WHOLE, FIRST) else whole + part
        at += HEADER + length
        if kind in (WHOLE, LAST):
            yield Record.FromString(whole)


def whole(path):
    """The records of a run that was closed, by their kinds: its end may still be on its way."""
    for _ in range(1000):
        kinds = {}
        for record in records(path):
            kind = record.WhichOneof("record_type")
            kinds.setdefault(kind, []).append(getattr(record, kind))
        if "exit" in kinds:
            return kinds
        time.sleep(0.02)
    raise TimeoutError(path)


def logged_by_wandb(workdir):
    """The starts of W&B in a workdir: the run of each, its rows, its summary, its files."""
    paths = {path: whole(path) for path in workdir.glob("wandb/offline-run-*/*.wandb")}
    for path in sorted(paths, key=lambda path: paths[path]["run"][0].start_time.ToNanoseconds()):
        kinds = paths[path]
        rows = [(history.step.num, values(history.item)) for history in kinds.get("history", [])]
        summary = {n: v for each in kinds["summary"] for n, v in values(each.update).items()}
        yield kinds["run"][0], rows, summary, path.parent / "files"


def values(items):
    """What the items of a record say, but for what W&B adds by itself."""
    named = {}
    for item in items:
        *groups, name = item.nested_key or [item.key]
        inside = named
        for group in groups:
            inside = inside.setdefault(group, {})
        inside[name] = json.loads(item.value_json)
    return {name: value for name, value in named.items() if not name.startswith("_")}


def test_wandb_has_every_number_image_and_field(workdir, capsys):
    before = [signal.getsignal(number) for number in SIGNALS]
    write_steps(workdir, config_of("wandb"), 0, [2, 4])
    assert [signal.getsignal(number) for number in SIGNALS] == before
    ((run, rows, _, files),) = logged_by_wandb(workdir)
    assert (run.project, run.display_name) == ("defect_jax", "run ü")
    given = values(run.config.update)
    assert given["data"] == {"root": "", "data_dir": "", "size": [32, 32]}
    assert (given["seed"], given["track"]) == (3, "wandb")
    (two, first), (four, second) = rows
    assert (two, first) == (2, {"step": 2, "train/loss": 0.25})
    image = second.pop("val/part (1)")
    numbers = {"step": 4, "train/loss": 1 / 6, "val/selection": float(np.float32(0.1) * 4)}
    assert (four, second) == (4, numbers)
    assert np.array_equal(np.asarray(Image.open(files / image["path"])), PICTURE)
    assert json.loads((workdir / "trackers.json").read_text()) == {"wandb": run.run_id}
    assert "goes on without" not in capsys.readouterr().err


def test_a_run_of_wandb_goes_on_and_one_from_step_0_begins_anew(workdir, monkeypatch):
    config = config_of("wandb")
    monkeypatch.setenv("WANDB_PROJECT", "presses")
    write_steps(workdir, config, 0, [2])
    write_steps(workdir, config, 2, [4])
    write_outcome(workdir, 8, config, OUTCOME)
    write_steps(workdir, config, 0, [2])
    runs, rows, summaries, _ = zip(*logged_by_wandb(workdir), strict=True)
    ids = [run.run_id for run in runs]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert {run.project for run in runs} == {"presses"}
    assert [[step for step, _ in of_run] for of_run in rows] == [[2], [4], [], [2]]
    outcome = {"test/images": 60.0, "test/recall": 1 / 3, "test/iou/Riß (fein)": 0.25}
    assert {n: v for n, v in summaries[2].items() if n.startswith("test/")} == outcome


class Resumed:
    """A run as W&B gives it online: it has rows up to the step before its free one."""

    starting_step = 7

    def __init__(self):
        self.rows = []

    def log(self, row, step):
        self.rows.append((step, row))


def test_online_wandb_is_sent_nothing_twice_and_a_validation_that_was_cut_off():
    wandb = object.__new__(trackers.WandBRun)
    wandb._run, wandb._step = Resumed(), 4
    wandb.numbers(4, {"val/selection": 0.5})
    for step in (5, 6, 7, 8):
        wandb.numbers(step, {"train/loss": 1 / step})
    assert wandb._run.rows == [
        (7, {"step": 4, "val/selection": 0.5}),
        (7, {"step": 7, "train/loss": 1 / 7}),
        (8, {"step": 8, "train/loss": 1 / 8}),
    ]


def test_without_a_key_for_wandb_the_training_goes_on(workdir, monkeypatch, capsys):
    importlib.import_module("wandb").teardown()  # it reads the environment once
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", NOWHERE)
    write_steps(workdir, config_of("wandb"), 0, [2, 4])
    assert [line["step"] for line in read_history(workdir)] == [2, 4, 4]
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "goes on" in line]
    assert line.startswith("wandb: the run goes on without it (UsageError: No API key configured.")
    importlib.import_module("wandb").teardown()


# MLflow.


@pytest.fixture
def client(workdir):
    mlflow = importlib.import_module("mlflow")
    return mlflow.MlflowClient((workdir / "mlruns").as_uri())


def id_of(workdir):
    return json.loads((workdir / "trackers.json").read_text())["mlflow"]


def history(client, id, name):
    return [(metric.step, metric.value) for metric in client.get_metric_history(id, name)]


def test_mlflow_has_every_number_image_and_field(workdir, client, capsys):
    write_steps(workdir, config_of("mlflow"), 0, [2, 4])
    run = client.get_run(id_of(workdir))
    assert client.get_experiment(run.info.experiment_id).name == "defect_jax"
    assert (run.info.run_name, run.info.status) == ("run ü", "FINISHED")
    given = {"seed": "3", "track": "mlflow", "train.steps": "8", "data.size": "[32, 32]"}
    assert {name: value for name, value in run.data.params.items() if value} == given
    assert history(client, run.info.run_id, "train/loss") == [(2, 0.25), (4, 1 / 6)]
    expected = [(4, float(np.float32(0.1) * 4))]
    assert history(client, run.info.run_id, "val/selection") == expected
    assert "train/undefined" not in run.data.metrics
    (path,) = (workdir / "mlruns").rglob("val~part _1_+step+4+*.png")
    assert np.array_equal(np.asarray(Image.open(path)), PICTURE)
    assert "goes on without" not in capsys.readouterr().err


def test_a_run_of_mlflow_goes_on_without_doubled_steps(workdir, client, monkeypatch):
    """Killed after step 6, and once more after 5: both times the checkpoint is that of step 4."""
    config = config_of("mlflow")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "presses")
    write_steps(workdir, config, 0, [2, 4, 5, 6])
    write_steps(workdir, config, 4, [5])
    with open_writer(workdir, read_history(workdir), 4, config) as writer:
        writer.write(4, "val", {SELECTION: 0.4, "pixel_ap": 0.5})  # a validation that was cut off
        for step in (5, 6, 7):
            writer.write(step, "train", {"loss": 1.0 / (step + 2)})
    write_outcome(workdir, 8, config, OUTCOME)
    run = client.get_run(id_of(workdir))
    assert client.get_experiment(run.info.experiment_id).name == "presses"
    losses = [(step, 1.0 / (step + 2)) for step in (2, 4, 5, 6, 7)]
    assert history(client, run.info.run_id, "train/loss") == losses
    assert history(client, run.info.run_id, "val/pixel_ap") == [(4, 0.5)]
    assert {name: value for name, value in run.data.metrics.items() if "test/" in name} == {
        **{"test/images": 60.0, "test/recall": 1 / 3, "test/iou/Riß _fein_": 0.25}
    }
    assert len(client.search_runs([run.info.experiment_id])) == 1


@pytest.mark.parametrize("lost", ["file", "damaged", "unknown", "deleted", "begun anew"])
def test_without_a_known_run_a_new_one_begins(lost, workdir, client):
    config = config_of("mlflow")
    write_steps(workdir, config, 0, [2, 4])
    first, path = id_of(workdir), workdir / "trackers.json"
    if lost == "file":
        path.unlink()
    elif lost == "damaged":
        path.write_text('{"mlflow": "../../else')
    elif lost == "unknown":
        path.write_text(json.dumps({"mlflow": "0" * 32}))
    elif lost == "deleted":
        client.delete_run(first)
    write_steps(workdir, config, 0 if lost == "begun anew" else 4, [5])
    assert id_of(workdir) != first
    assert history(client, id_of(workdir), "train/loss") == [(5, 1 / 7)]


def test_the_runs_of_both_are_kept(workdir):
    (workdir / "trackers.json").write_text('{"wandb": "abc", "mlflow": ["no id"]}')
    open_tracker(config_of("mlflow"), workdir, 4).finish(to_the_end=False)
    ids = json.loads((workdir / "trackers.json").read_text())
    assert set(ids) == {"wandb", "mlflow"} and ids["wandb"] == "abc"


def test_a_server_that_does_not_answer_stops_no_training(workdir, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    write_steps(workdir, config_of("mlflow"), 0, [2, 4])
    write_outcome(workdir, 8, config_of("mlflow"), OUTCOME)
    assert [line["step"] for line in read_history(workdir)] == [2, 4, 4]
    said = [line for line in capsys.readouterr().err.splitlines() if "goes on without" in line]
    assert len(said) == 2 and all(line.startswith("mlflow: the run goes on") for line in said)
    assert not (workdir / "trackers.json").exists() and not (workdir / "mlruns").exists()


def test_a_tracker_that_is_lost_meanwhile_is_said_once(workdir, capsys):
    tracker = open_tracker(config_of("mlflow"), workdir, 0)
    with MetricsWriter(workdir, [], 0, tracker) as writer:
        writer.write(2, "train", {"loss": 0.5})
        shutil.rmtree(workdir / "mlruns")
        for step in (4, 6):
            writer.write(step, "train", {"loss": 0.5})
    assert [line["step"] for line in read_history(workdir)] == [2, 4, 6]
    said = capsys.readouterr().err
    assert said.count("mlflow: the run goes on without it (") == 1


def test_files_of_mlflow_name_no_folder_to_write_to(workdir, tmp_path, capsys):
    write_steps(workdir, config_of("mlflow"), 0, [4])
    for path in (workdir / "mlruns").rglob("meta.yaml"):
        own, other = workdir.as_uri(), (tmp_path / "other").as_uri()
        path.write_text(path.read_text().replace(own, other))
    for first in (4, 0):
        write_steps(workdir, config_of("mlflow"), first, [8])
        assert "was in another folder before" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


# Both.


@pytest.mark.parametrize("name", trackers.TRACKERS)
def test_a_library_that_is_not_installed_is_refused(name, monkeypatch):
    refuse_missing(name)
    monkeypatch.setitem(sys.modules, name, None)  # an import of it would fail
    with pytest.raises(UserError, match=rf"'{name}', .*pip install 'defect_jax\[{name}\]'"):
        refuse_missing(name)


def test_a_folder_of_that_name_is_no_library(tmp_path, monkeypatch):
    (tmp_path / "no_library").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="'no_library', which is not installed"):
        refuse_missing("no_library")
    refuse_missing("")


def test_without_a_tracker_nothing_is_written(workdir):
    write_steps(workdir, config_of(""), 0, [2])
    Tracker().outcome(8, {"a": 1.0})
    assert sorted(path.name for path in workdir.iterdir()) == ["metrics.jsonl", "tensorboard"]


def test_for_a_bucket_files_are_on_the_disk(capsys):
    folder = trackers._folder(epath.Path("gs://bucket/run"))
    assert Path(folder).is_dir() and str(folder) in capsys.readouterr().err
    folder.rmdir()
