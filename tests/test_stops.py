"""Runs that stop: at a signal, to go on later, and at a loss that is not finite."""

import json
import re
import signal
import time

import pytest
from programs import CONFIG, GRADNORM, LONG, SMALL, lines, start


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def data(home):
    return (f"--config.data.data_dir={home / 'data'}", *GRADNORM)


def test_sigterm_saves_and_says_how_to_go_on(data, home):
    workdir = home / "stopped"
    long = [CONFIG, *data, *SMALL, f"--workdir={workdir}", *LONG]
    with start(*long) as process:
        while not lines_so_far(workdir):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, stderr
    saved = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    assert f"saved step {saved}\nstopped by signal 15; the same command goes on" in stderr
    assert lines(workdir)[-1]["step"] <= saved


def lines_so_far(workdir):
    path = workdir / "metrics.jsonl"
    return path.read_text() if path.exists() else ""


# Four kinds of defect, and localisation that learns before in a stage of forty steps. Its best
# checkpoint is one of five.
STAGED = (
    *SMALL,
    "--config.train.eval_every_steps=8",
    "--config.model.num_classes=4",
    "--config.model.localisation=backbone",
    "--config.model.localisation_widths=(4, 8)",
    "--config.model.embedding=True",
    "--config.model.pixel_confidence=learnt",
    "--config.loss.defect_weight=4.0",
    "--config.loss.weight_localised=True",
    "--config.train.localisation_steps=40",
)


def test_a_run_stopped_in_stage_one_goes_on_to_the_numbers_of_one_that_was_not(forked, home):
    data = (f"--config.data.data_dir={home / 'data'}", *STAGED)
    data = (*data, f"--config.compilation_cache={home / 'programs'}")
    straight, stopped = home / "staged", home / "staged_stopped"
    whole = forked.run(CONFIG, *data, f"--workdir={straight}")
    assert whole.returncode == 0, whole.stderr
    with start(CONFIG, *data, f"--workdir={stopped}") as process:
        while not lines_so_far(stopped / "localisation"):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert not (stopped / "checkpoints").exists() and not lines_so_far(stopped)
    resumed = forked.run(CONFIG, *data, f"--workdir={stopped}", "--resume=must")
    assert resumed.returncode == 0, resumed.stderr
    saved = re.search(r"saved step (\d+)\n", stderr)[1]
    assert f"going on from step {saved}\n" in resumed.stderr and 0 < int(saved) < 40

    for name in ("eval/test/metrics.json", "decision.json", "eval/test/predictions.csv"):
        assert (stopped / name).read_bytes() == (straight / name).read_bytes(), name
    for folder in ("", "localisation"):
        assert lines(stopped / folder) == lines(straight / folder)
    metrics = json.loads((straight / "eval/test/metrics.json").read_text())
    assert {f"iou/{kind}" for kind in ("hair_crack", "pit", "scratch", "stain")} < set(metrics)
    first, last = lines(straight / "localisation")[0], lines(straight)[0]
    assert "loss_localisation" in first and "loss_segmentation" not in first
    assert "loss_segmentation" in last and "loss_localisation" not in last

    stage = forked.run(
        "--mode=evaluate", f"--workdir={straight / 'localisation'}"
    )  # a whole workdir
    assert stage.returncode == 0, stage.stderr
    assert (straight / "localisation/eval/report.html").stat().st_size > 0
    config = json.loads((straight / "localisation/config.json").read_text())
    assert (config["model"]["decoder"], config["train"]["steps"]) == ("grid", 40)
    checkpoints = {path.name for path in (straight / "localisation/checkpoints").iterdir()}
    assert "40" in checkpoints


def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_task(forked, data, home):
    wild = ["--config.optimizer.learning_rate=1e38", "--config.optimizer.clip_norm=1e38"]
    result = forked.run(CONFIG, *data, *SMALL, f"--workdir={home / 'wild'}", *wild)
    assert result.returncode == 2, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("defect_jax: step ") and "the loss of task" in last
