"""The real entry point: train, stop, resume, evaluate; and what it refuses."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = "--config=configs/synthetic.py:debug"


def run(*arguments, devices=1):
    """Starts the program as a user does."""
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
    }
    return subprocess.run(
        [sys.executable, "-m", "defect_jax.main", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def trained(home):
    """A whole run of eight steps, and the same run stopped after four and resumed."""
    data = f"--config.data.data_dir={home / 'data'}"
    whole = run(CONFIG, data, f"--workdir={home / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    return home / "whole", data, whole


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_what_is_promised(trained):
    workdir, _, result = trained
    for name in ("config.json", "decision.json", "eval/report.html", "eval/test/predictions.csv"):
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


def test_a_run_cut_off_goes_on_from_its_newest_checkpoint(trained, home):
    workdir, data, _ = trained
    resumed = home / "resumed"
    stopped = run(CONFIG, data, f"--workdir={resumed}", "--config.train.eval_every_steps=4")
    assert stopped.returncode == 0, stopped.stderr
    for path in sorted((resumed / "checkpoints" / "8").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (resumed / "checkpoints" / "8").rmdir()
    on = run(CONFIG, data, f"--workdir={resumed}")
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


def test_another_config_in_a_used_workdir_is_refused(trained):
    workdir, data, _ = trained
    result = run(CONFIG, data, f"--workdir={workdir}", "--config.optimizer.learning_rate=0.5")
    assert result.returncode == 2
    assert "optimizer.learning_rate was 0.001, is 0.5" in result.stderr
