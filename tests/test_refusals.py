"""What the program refuses: one line, exit code two, and nothing is written."""

import errno

import pytest
import raw_data
from programs import CONFIG, GRADNORM, ROOT, run

from defect_jax import command_line


def check_refusal(result, says, tmp_path):
    assert result.returncode == 2, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert says in last and "Traceback" not in result.stderr
    assert result.stdout == "" and not list(tmp_path.iterdir()) and not (ROOT / "no").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--config is missing"),
        ([CONFIG, "--nonsense=1"], "nonsense"),
        ([CONFIG, "--resume=must"], "holds no checkpoint to go on from"),
    ],
)
def test_a_program_started_as_users_do_refuses_in_one_line_and_exit_code_two(
    arguments, says, tmp_path
):
    result = run(*arguments, f"--workdir={tmp_path / 'run'}")
    check_refusal(result, says, tmp_path)
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config=configs/nothing.py"], "nothing.py"),
        (["--config=configs/synthetic.py:huge"], "no variant 'huge'"),
        ([CONFIG, "--config.model.depth=3"], "depth"),
        ([CONFIG, "--config.train.steps=many"], "steps"),
        ([CONFIG, "--mode=dance"], "mode"),
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
        ([CONFIG, "--config.track=comet"], "it must be empty or one of wandb, mlflow"),
        ([CONFIG, "--config.profile=9"], "config.profile is '9': it must be START:STOP"),
        ([CONFIG, "--num_processes=2"], "several hosts need --coordinator_address"),
        ([CONFIG, "--config.decision.rule=hope"], "config.decision.rule is 'hope'"),
        (
            ["--config=configs/folder.py:debug", "--config.data.root=no/such/folder"],
            "no/such/folder",
        ),
        (["--config=configs/folder.py:debug"], "config.data.root"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_two(forked, arguments, says, tmp_path):
    if not any("workdir" in argument for argument in arguments):
        arguments = [*arguments, f"--workdir={tmp_path / 'run'}"]
    check_refusal(forked.run(*arguments), says, tmp_path)


@pytest.mark.parametrize("mode", ["evaluate", "predict", "export"])
def test_a_mode_that_needs_a_trained_network_asks_for_its_workdir(mode, forked, tmp_path):
    check_refusal(forked.run(f"--mode={mode}"), "--workdir is missing: name the folder", tmp_path)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "W/x"), "W/x: cannot be written or read"),
        (RuntimeError("write() failed: No space left on device; writing D/y"), "writing D/y"),
        (RuntimeError("it failed"), None),
    ],
)
def test_a_full_disk_is_one_line_whichever_library_finds_it(error, says, capsys):
    try:
        raise ValueError("above it") from error
    except ValueError as raised:
        if says is None:
            return command_line._refuse_disk(raised)
        with pytest.raises(SystemExit) as end:
            command_line._refuse_disk(raised)
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and says in line


def test_a_promise_that_cannot_be_kept_is_refused_before_training(forked, tmp_path):
    data = (f"--config.data.data_dir={tmp_path / 'data'}", *GRADNORM)
    wish = ["--config.decision.rule=guaranteed_miss_rate", "--config.decision.miss_rate=0.001"]
    result = forked.run(CONFIG, *data, *wish, f"--workdir={tmp_path / 'promise'}")
    assert result.returncode == 2, result.stderr
    assert "needs 2995 defective parts" in result.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "promise").exists()


def test_check_lists_all_faults_and_changes_nothing(forked, tmp_path):
    root = raw_data.folder_data(tmp_path / "raw")
    raw_data.write(root / "images/good/part_000.png", b"no image")
    raw_data.write(root / "masks/bad/lost.png", raw_data.defect_mask())
    before = sorted(tmp_path.rglob("*"))
    result = forked.run(
        "--config=configs/folder.py:debug", f"--config.data.root={root}", "--mode=check"
    )
    assert result.returncode == 2
    assert "images/good/part_000.png" in result.stdout
    assert "masks/bad/lost.png" in result.stdout
    assert sorted(tmp_path.rglob("*")) == before
