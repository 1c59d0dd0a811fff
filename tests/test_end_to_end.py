"""The real entry point: train, stop, resume, evaluate; and what it refuses."""

import csv
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import raw_data
from conftest import AS_USERS_DO

from defect_jax import configuration
from defect_jax.data.images import decode_image
from defect_jax.data.prepare import prepare
from defect_jax.metrics.picture import read_predictions

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = "--config=configs/synthetic.py:debug"
# The least network, where another thing is tested.
SMALL = ("--config.model.decoder=unet", "--config.model.attention=none")
# Learnt weights are part of what must be resumed; every third step measures, the others do not.
GRADNORM = ("--config.balance.method=gradnorm", "--config.balance.measure_every_steps=3")


def start(*arguments, devices=1, compiler=os.environ["XLA_FLAGS"]):
    """Starts the program as a user does, but for what the compiler is told, see conftest.py."""
    flags = f"{compiler} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "defect_jax.main", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)


def run(*arguments, **options):
    """Runs it to the end."""
    with start(*arguments, **options) as process:
        stdout, stderr = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def trained(home):
    """A whole run of eight steps, and the same run stopped after four and resumed."""
    data = (f"--config.data.data_dir={home / 'data'}", *GRADNORM)
    whole = run(CONFIG, *data, f"--workdir={home / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    return home / "whole", data, whole


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_what_is_promised(trained):
    workdir, _, result = trained
    tables = ("eval/test/predictions.csv", "eval/test/parts.csv")
    for name in ("config.json", "decision.json", "eval/report.html", *tables):
        assert (workdir / name).stat().st_size > 0
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == ["4", "8"]
    assert list((workdir / "tensorboard").iterdir())
    assert "compiled the training step in" in result.stderr
    assert [line["step"] for line in lines(workdir) if line["split"] == "train"] == [2, 4, 6, 8]
    assert [line["step"] for line in lines(workdir) if line["split"] == "val"] == [4, 8]
    metrics = json.loads((workdir / "eval/test/metrics.json").read_text())
    masks = list((workdir / "eval/test/masks").rglob("*.png"))
    assert metrics["images"] == metrics["defective"] + metrics["good"] == len(masks)


def test_evaluating_again_in_a_fresh_process_gives_the_same_metrics(trained):
    workdir, _, _ = trained
    path = workdir / "eval/test/metrics.json"
    before = path.read_bytes()
    again = run("--mode=evaluate", f"--workdir={workdir}")
    assert again.returncode == 0, again.stderr
    assert path.read_bytes() == before


def test_the_pictures_of_the_test_split_are_predicted_as_they_were_evaluated(trained, home):
    workdir, _, _ = trained
    config = configuration.load(workdir)
    test = prepare(config.data, needed={"test"}).splits["test"]
    for number, row in enumerate(test.rows):
        path = home / "pictures" / f"{row.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw_data.encoded(decode_image(test.source[number]["image"])[..., 0]))
    output = home / "predicted"
    paths = (f"--workdir={workdir}", f"--input={home / 'pictures'}", f"--output={output}")
    result = run("--mode=predict", *paths)
    assert result.returncode == 0, result.stderr
    evaluated = {row.id: row for row in read_predictions(workdir / "eval/test/predictions.csv")}
    with (output / "predictions.csv").open(newline="") as file:
        predicted = {row["id"]: row for row in csv.DictReader(file)}
    assert predicted.keys() == evaluated.keys()
    for id, row in predicted.items():
        for name in ("score", "mask_score"):
            assert float(row[name]) == pytest.approx(getattr(evaluated[id], name), abs=1e-5)
        for name in ("decision", "mask_decision", "predicted_px"):
            assert int(row[name]) == getattr(evaluated[id], name)
        masks = [home / "predicted/masks", workdir / "eval/test/masks"]
        assert len({(folder / f"{id}.png").read_bytes() for folder in masks}) == 1


def test_a_workdir_is_exported_with_its_metrics(trained, home):
    workdir, _, _ = trained
    result = run("--mode=export", f"--workdir={workdir}", f"--output={home / 'exported'}")
    assert result.returncode == 0, result.stderr
    names = sorted(path.name for path in (home / "exported").iterdir())
    assert names == ["model.json", "model.onnx", "model.stablehlo"]
    card = json.loads((home / "exported" / "model.json").read_text())
    assert card["metrics"] == json.loads((workdir / "eval/test/metrics.json").read_text())
    assert card["thresholds"] == json.loads((workdir / "decision.json").read_text())
    again = run("--mode=export", f"--workdir={workdir}", f"--output={home / 'exported'}")
    assert again.returncode == 2 and "is not empty: name a new folder" in again.stderr


def test_a_run_cut_off_goes_on_from_its_newest_checkpoint(trained, home):
    workdir, data, _ = trained
    resumed = home / "resumed"
    shutil.copytree(workdir, resumed)
    shutil.rmtree(resumed / "checkpoints" / "8")
    on = run(CONFIG, *data, f"--workdir={resumed}")
    assert on.returncode == 0, on.stderr
    assert "going on from step 4" in on.stderr
    assert lines(resumed) == lines(workdir)


def test_eight_devices_restore_what_one_has_trained(trained):
    workdir, _, _ = trained
    before = json.loads((workdir / "eval/test/metrics.json").read_text())
    result = run("--mode=evaluate", f"--workdir={workdir}", devices=8)
    assert result.returncode == 0, result.stderr
    after = json.loads((workdir / "eval/test/metrics.json").read_text())
    assert after == pytest.approx(before, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--config is missing"),
        (["--config=configs/nothing.py"], "nothing.py"),
        (["--config=configs/synthetic.py:huge"], "no variant 'huge'"),
        ([CONFIG, "--config.model.depth=3"], "depth"),
        ([CONFIG, "--config.train.steps=many"], "steps"),
        ([CONFIG, "--mode=dance"], "mode"),
        ([CONFIG, "--nonsense=1"], "nonsense"),
        ([CONFIG, "configs/synthetic.py"], "unknown argument"),
        ([CONFIG, "--config.model.decoder=resnet"], "config.model.decoder"),
        ([CONFIG, "--config.train.batch_size=0"], "config.train.batch_size"),
        (["--mode=evaluate", "--workdir=no/such/run"], "config.json"),
        (["--mode=predict", "--workdir=no/such/run"], "--input is missing"),
        (["--mode=predict", "--workdir=no", "--input=.", "--output=no/out"], "no/config.json"),
        (["--mode=export", "--workdir=no/such/run"], "--output is missing"),
        (["--mode=export", "--workdir=no/such/run", "--output=no/out"], "config.json"),
        (["--mode=compare", "--workdirs=no/such/run"], "--workdirs: name at least two"),
        (["--mode=compare", "--workdirs=no/such/run,no/run"], "no/such/run/eval/test/predictions"),
        ([CONFIG, "--resume=must"], "holds no checkpoint to go on from"),
        ([CONFIG, "--config.profile=9"], "config.profile is '9': it must be START:STOP"),
        ([CONFIG, "--num_processes=2"], "several hosts need --coordinator_address"),
        ([CONFIG, "--config.decision.rule=hope"], "config.decision.rule is hope"),
        (
            ["--config=configs/folder.py:debug", "--config.data.root=no/such/folder"],
            "no/such/folder",
        ),
        (["--config=configs/folder.py:debug"], "config.data.root"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_two(arguments, says, tmp_path):
    if not any("workdir" in argument for argument in arguments):
        arguments = [*arguments, f"--workdir={tmp_path / 'run'}"]
    result = run(*arguments)
    assert result.returncode == 2, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert says in last and "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_promise_that_cannot_be_kept_is_refused_before_training(trained, home):
    _, data, _ = trained
    wish = ["--config.decision.rule=guaranteed_miss_rate", "--config.decision.miss_rate=0.001"]
    result = run(CONFIG, *data, *wish, f"--workdir={home / 'promise'}")
    assert result.returncode == 2, result.stderr
    assert "needs 2995 defective parts" in result.stderr.strip().splitlines()[-1]
    assert not (home / "promise").exists()


def test_another_rule_decides_anew_and_another_split_leaves_the_test_alone(trained, home):
    workdir, data, _ = trained
    copy = home / "rule"
    shutil.copytree(workdir, copy)
    before = (copy / "eval/report.html").read_bytes()
    wish = ["--config.decision.rule=target_recall", "--config.decision.recall=1.0"]
    wish.append("--config.model.prune=1")
    told = run(CONFIG, *data, *wish, "--mode=evaluate", "--split=val", f"--workdir={copy}")
    assert told.returncode == 0, told.stderr
    decision = json.loads((copy / "decision.json").read_text())
    assert decision["rule"] == "target_recall" and decision["options"]["recall"] == 1.0
    assert decision["prune"] == configuration.load(copy).model.prune == 1
    metrics = json.loads((copy / "eval/val/metrics.json").read_text())
    assert metrics["recall"] == metrics["part_recall"] == 1.0  # on the pictures it was chosen on
    assert metrics["images"] == decision["pictures"]
    assert (copy / "eval/report.html").read_bytes() == before
    report = (copy / "eval/val/report.html").read_text()
    assert "chosen on these very pictures" in report and "pruned to X(0,1)" in report
    again = run("--mode=evaluate", f"--workdir={copy}")  # the wish stays
    assert again.returncode == 0, again.stderr
    assert json.loads((copy / "decision.json").read_text()) == decision
    assert (copy / "eval/report.html").read_bytes() != before


def test_two_evaluations_are_compared(trained, home):
    workdir, _, _ = trained
    twin = home / "twin"
    shutil.copytree(workdir, twin)
    output = home / "compared"
    both = f"--workdirs={workdir},{twin}"
    result = run("--mode=compare", both, f"--workdir={output}")
    assert result.returncode == 0, result.stderr
    table = (output / "differences.csv").read_text().splitlines()
    assert table[0] == "metric,model,value,difference,low,high"
    rows = [line.split(",") for line in table if line.startswith("accuracy,")]
    assert [row[1] for row in rows] == ["whole", "twin"] and rows[0][2] == rows[1][2]
    assert [float(value) for value in rows[1][3:]] == [0.0, 0.0, 0.0]
    assert "twin" in (output / "compare.html").read_text()


def test_another_config_in_a_used_workdir_is_refused(trained):
    workdir, data, _ = trained
    result = run(CONFIG, *data, f"--workdir={workdir}", "--config.optimizer.learning_rate=0.5")
    assert result.returncode == 2
    assert "optimizer.learning_rate was 0.001, is 0.5" in result.stderr


def test_sigterm_saves_and_says_how_to_go_on(trained, home):
    _, data, _ = trained
    workdir = home / "stopped"
    long = [CONFIG, *data, *SMALL, f"--workdir={workdir}", "--config.train.steps=100000"]
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


# Four kinds of defect, and localisation that learns before in a stage of forty steps.
STAGED = (
    "--config.model.decoder=unet",
    "--config.model.num_classes=4",
    "--config.model.localisation=backbone",
    "--config.model.localisation_widths=(4, 8, 8)",
    "--config.model.embedding=True",
    "--config.model.pixel_confidence=learnt",
    "--config.loss.defect_weight=4.0",
    "--config.loss.weight_localised=True",
    "--config.train.localisation_steps=40",
)


def test_a_run_stopped_in_stage_one_goes_on_to_the_numbers_of_one_that_was_not(trained, home):
    data = (f"--config.data.data_dir={home / 'data'}", *STAGED)
    data = (*data, f"--config.compilation_cache={home / 'programs'}")
    straight, stopped = home / "staged", home / "staged_stopped"
    whole = run(CONFIG, *data, f"--workdir={straight}")
    assert whole.returncode == 0, whole.stderr
    with start(CONFIG, *data, f"--workdir={stopped}") as process:
        while not lines_so_far(stopped / "localisation"):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert not (stopped / "checkpoints").exists() and not lines_so_far(stopped)
    resumed = run(CONFIG, *data, f"--workdir={stopped}", "--resume=must")
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

    stage = run("--mode=evaluate", f"--workdir={straight / 'localisation'}")  # a whole workdir
    assert stage.returncode == 0, stage.stderr
    assert (straight / "localisation/eval/report.html").stat().st_size > 0
    config = json.loads((straight / "localisation/config.json").read_text())
    assert (config["model"]["decoder"], config["train"]["steps"]) == ("grid", 40)
    checkpoints = {path.name for path in (straight / "localisation/checkpoints").iterdir()}
    assert "40" in checkpoints


def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_task(trained, home):
    _, data, _ = trained
    wild = ["--config.optimizer.learning_rate=1e38", "--config.optimizer.clip_norm=1e38"]
    result = run(CONFIG, *data, *SMALL, f"--workdir={home / 'wild'}", *wild)
    assert result.returncode == 2, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("defect_jax: step ") and "the loss of task" in last


def test_the_ksdd2_release_trains_and_evaluates(home):
    root = raw_data.ksdd2_release(home / "ksdd2", train=(30, 15), test=(6, 4))
    workdir = home / "ksdd2-run"
    where = [f"--config.data.root={root}", f"--config.data.data_dir={home / 'data'}"]
    command = ["--config=configs/ksdd2.py:debug", *where, f"--workdir={workdir}"]
    result = run(*command, compiler=AS_USERS_DO)
    assert result.returncode == 0, result.stderr
    assert "10301 (copy).png" in result.stderr and "10301_GT (copy).png" in result.stderr
    metrics = json.loads((workdir / "eval/test/metrics.json").read_text())
    assert (metrics["images"], metrics["defective"], metrics["good"]) == (10, 4, 6)
    assert "leaking" not in metrics


def test_numbers_of_a_leaking_split_are_labelled(home):
    root = raw_data.magnetic_tile_release(home / "tiles")
    workdir = home / "leaking"
    where = [f"--config.data.root={root}", f"--config.data.data_dir={home / 'data'}"]
    random = ["--config=configs/magnetic_tile.py:debug", "--config.data.split=random", *SMALL]
    result = run(*random, *where, f"--workdir={workdir}")
    assert result.returncode == 0, result.stderr
    assert json.loads((workdir / "eval/test/metrics.json").read_text())["leaking"] == 1
    assert all(line["leaking"] == 1 for line in lines(workdir) if line["split"] == "val")
    assert "leaking" in (workdir / "eval/report.html").read_text()


def test_check_lists_all_faults_and_changes_nothing(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw")
    raw_data.write(root / "images/good/part_000.png", b"no picture")
    raw_data.write(root / "masks/bad/lost.png", raw_data.defect_mask())
    before = sorted(tmp_path.rglob("*"))
    result = run("--config=configs/folder.py:debug", f"--config.data.root={root}", "--mode=check")
    assert result.returncode == 2
    assert "images/good/part_000.png" in result.stdout
    assert "masks/bad/lost.png" in result.stdout
    assert sorted(tmp_path.rglob("*")) == before
