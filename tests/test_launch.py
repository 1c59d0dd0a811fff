import fcntl
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from launch import set_up

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted([*(ROOT / "launch").glob("*.sh"), ROOT / ".ci" / "run"])


# The scripts.


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_parses_and_may_be_run(script):
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")


def write_script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path):
    """Copies the scripts to a folder of their own, with a stand-in for set_up.py."""
    folder = tmp_path / "check out"  # a blank, as in the home folders of many
    (folder / "launch").mkdir(parents=True)
    for script in (ROOT / "launch").glob("*.sh"):
        copy = folder / "launch" / script.name
        copy.write_bytes(script.read_bytes())
        copy.chmod(0o755)
    (folder / "launch" / "set_up.py").write_text("import sys; print('set up for', *sys.argv[1:])")
    for tool in ("bash", "dirname"):  # a PATH that holds no Python but those of the test
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / tool).symlink_to(
            f"/bin/{tool}" if tool == "bash" else "/usr/bin/dirname"
        )
    return folder


def start(checkout, script, *arguments, **environment):
    path = str(checkout.parent / "bin")
    return subprocess.run(
        [checkout / "launch" / script, *arguments],
        cwd=checkout.parent,
        env={"PATH": path, **environment},
        capture_output=True,
        text=True,
    )


def test_first_python_that_runs_and_fits_is_taken(checkout):
    tools = checkout.parent / "bin"
    write_script(tools / "python3", "echo 'version not installed' >&2; exit 127")
    write_script(tools / "python3.13", "exit 1")  # its probe fails: too old, or no venv
    (tools / "python3.12").symlink_to(sys.executable)
    result = start(checkout, "set_up.sh", "run")
    assert (result.returncode, result.stdout, result.stderr) == (0, "set up for run\n", "")


def test_no_python_is_one_line_and_exit_2(checkout):
    result = start(checkout, "local.sh", "--config=configs/synthetic.py")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "no Python 3.11 to 3.14 with venv and pip" in result.stderr
    assert "python3-venv" in result.stderr


def test_python_named_by_the_caller_is_taken_or_refused(checkout):
    assert start(checkout, "set_up.sh", "run", PYTHON=sys.executable).returncode == 0
    (checkout.parent / "bin" / "python3").symlink_to(sys.executable)
    result = start(checkout, "set_up.sh", "run", PYTHON="/no/such/python")
    assert result.returncode == 2
    assert "/no/such/python" in result.stderr


SHOW = (
    'for word in "$@"; do echo "<$word>"; done; pwd; echo "$PYTHONPATH|${PYTHONHOME-unset}"; exit 7'
)


@pytest.mark.parametrize(
    ("script", "module"), [("local.sh", "defect_jax.main"), ("ablation.sh", "defect_jax.ablation")]
)
def test_arguments_folder_and_exit_code_are_handed_on(checkout, script, module):
    write_script(checkout / ".venv" / "bin" / "python", SHOW)
    write_script(checkout / "launch" / "set_up.sh", '[ "$*" = run ]')
    result = start(
        checkout, script, "--a=b c", "", PYTHONPATH="/elsewhere", PYTHONHOME="/elsewhere"
    )
    assert result.returncode == 7
    arguments = ["<-m>", f"<{module}>", "<--a=b c>", "<>"]
    assert result.stdout.splitlines() == [*arguments, str(checkout.parent), f"{checkout}|unset"]


def test_test_hands_on_arguments_and_starts_at_the_root(checkout):
    write_script(checkout / ".venv" / "bin" / "python", SHOW)
    write_script(checkout / "launch" / "set_up.sh", '[ "$*" = test ]')
    result = start(checkout, "test.sh", "-k", "a or b", PYTHONPATH="/elsewhere")
    assert result.returncode == 7
    assert result.stdout.splitlines() == [
        *["<-m>", "<pytest>", "<-k>", "<a or b>"],
        *[str(checkout), "|unset"],
    ]


@pytest.mark.parametrize("script", ["local.sh", "ablation.sh", "test.sh"])
def test_failed_set_up_ends_the_start(checkout, script):
    write_script(checkout / ".venv" / "bin" / "python", "echo started")
    write_script(checkout / "launch" / "set_up.sh", "exit 2")
    result = start(checkout, script)
    assert (result.returncode, result.stdout) == (2, "")


# Choosing what to install, and knowing whether it is there.


@pytest.mark.parametrize(
    "answer, wheels",
    [
        ("580.65.06, 9.0\n", "cuda13"),
        ("595.10, 7.5\n595.10, 12.0\n", "cuda13"),
        ("580.65.06, 7.0\n", "cuda12"),  # CUDA 13 has dropped Volta
        ("580.65.06, 9.0\n580.65.06, 6.1\n", "cuda12"),
        ("535.288.01, 8.6\n", "cuda12"),
        ("470.256.02, 8.6\n", "cpu"),
        ("535.288.01, 5.0\n", "cpu"),
        ("", "cpu"),
        ("NVIDIA-SMI has failed because it could not communicate with the driver.\n", "cpu"),
        ("[N/A], [N/A]\n", "cpu"),
    ],
)
def test_wheels_follow_driver_and_gpu(answer, wheels):
    assert set_up.wheels_for(answer) == wheels


def test_too_old_driver_is_said(capsys):
    set_up.wheels_for("470.256.02, 8.6")
    assert "NVIDIA driver 470" in capsys.readouterr().err


def test_missing_nvidia_smi_means_no_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert set_up.ask_nvidia() == ""
    write_script(tmp_path / "nvidia-smi", "echo no devices were found; exit 6")
    assert set_up.ask_nvidia() == ""
    write_script(tmp_path / "nvidia-smi", "echo 580.65.06, 9.0")
    assert set_up.ask_nvidia() == "580.65.06, 9.0\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Points set_up at a checkout of its own, with short requirements."""
    (tmp_path / "launch").mkdir()
    monkeypatch.setattr(set_up, "ROOT", tmp_path)
    monkeypatch.setattr(set_up, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(set_up, "LOCK", tmp_path / ".venv" / "lock")
    monkeypatch.delenv("DEFECT_JAX_EXTRAS", raising=False)
    for name in ("build", "cpu", "cuda12", "cuda13", "tpu", "cloud", "test"):
        set_up.requirements(name).write_text(f"{name}==1\n")
    return tmp_path


@pytest.fixture
def commands(folder, monkeypatch):
    """Records what set_up would run instead of running it, and whether it is stamped by then."""
    recorded = []

    def record(lock, *command):
        ready = [purpose for purpose in ("run", "test") if set_up.stamp(purpose).exists()]
        recorded.append((" ".join(map(str, command)), ready))

    monkeypatch.setattr(set_up, "run", record)
    monkeypatch.setattr(set_up, "find_accelerator", lambda: "cpu")
    return recorded


def test_fresh_checkout_is_set_up_once(folder, commands):
    assert set_up.main("run") == 0
    text = "\n".join(command for command, _ in commands)
    assert re.search(
        "-m venv.*requirements-build.*requirements-cpu.*--editable.*compileall", text, re.DOTALL
    )
    assert "requirements-test" not in text
    assert all(ready == [] for _, ready in commands)  # stamped after the last command
    commands.clear()
    assert set_up.main("run") == 0
    assert commands == []


def test_test_requirements_are_added_to_a_whole_one(folder, commands):
    set_up.main("run")
    commands.clear()
    assert set_up.main("test") == 0
    text = "\n".join(command for command, _ in commands)
    assert "requirements-test" in text
    assert "-m venv" not in text
    assert all(ready == [] for _, ready in commands)  # killed here, it would be made anew
    assert set_up.is_ready("run", "cpu") and set_up.is_ready("test", "cpu")


def test_the_cloud_extra_is_added_to_a_whole_one_and_stays(folder, commands, monkeypatch):
    set_up.main("test")
    monkeypatch.setenv("DEFECT_JAX_EXTRAS", "cloud")
    commands.clear()
    assert set_up.main("run") == 0
    text = "\n".join(command for command, _ in commands)
    assert "requirements-cloud" in text
    assert "-m venv" not in text and "requirements-test" not in text
    assert all("run" not in ready for _, ready in commands)  # killed here, it would be made anew
    monkeypatch.delenv("DEFECT_JAX_EXTRAS")
    commands.clear()
    assert set_up.main("test") == set_up.main("run") == 0
    assert commands == []


def test_a_fresh_one_gets_the_cloud_extra_at_once(folder, commands, monkeypatch):
    monkeypatch.setenv("DEFECT_JAX_EXTRAS", "cloud")
    assert set_up.main("test") == 0
    (install,) = [command for command, _ in commands if "requirements-cpu" in command]
    assert "requirements-test" in install and "requirements-cloud" in install
    assert all(set_up.is_ready(name, "cpu") for name in ("run", "test", "cloud"))


def test_an_unknown_extra_is_one_line(folder, commands, monkeypatch, capsys):
    monkeypatch.setenv("DEFECT_JAX_EXTRAS", "cloud,clowd")
    assert set_up.main("run") == 2
    assert capsys.readouterr().err == "defect_jax: DEFECT_JAX_EXTRAS: clowd is none of cloud\n"
    assert commands == []


def test_half_made_one_is_made_anew(folder, commands, monkeypatch):
    left_over = folder / ".venv" / "lib" / "half.py"
    left_over.parent.mkdir(parents=True)
    left_over.touch()
    (folder / ".venv" / "lib64").symlink_to("lib")
    assert set_up.main("test") == 0
    assert not left_over.exists()
    assert "-m venv" in commands[0][0]


@pytest.mark.parametrize("name", ["build", "cpu", "cloud", "test"])
def test_other_pins_make_it_stale(folder, commands, name):
    set_up.main("test")
    set_up.requirements(name).write_text("other==2\n")
    assert not set_up.is_ready("run", "cpu") and not set_up.is_ready("test", "cpu")


def test_other_python_place_or_accelerator_make_it_stale(folder, commands, monkeypatch):
    set_up.main("run")
    assert not set_up.is_ready("run", "cuda13")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version", "3.99.0 (main)")
        assert not set_up.is_ready("run", "cpu")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "_base_executable", "/elsewhere/python3")
        assert not set_up.is_ready("run", "cpu")
    assert set_up.is_ready("run", "cpu")
    moved = folder.rename(folder.with_name("moved"))
    monkeypatch.setattr(set_up, "ROOT", moved)
    monkeypatch.setattr(set_up, "VENV", moved / ".venv")
    assert not set_up.is_ready("run", "cpu")


def test_accelerator_wheels_serve_a_machine_without_one(folder, commands, monkeypatch):
    monkeypatch.setattr(set_up, "find_accelerator", lambda: "cuda12")
    set_up.main("run")
    assert set_up.is_ready("run", "cpu")
    assert not set_up.is_ready("run", "cuda13")
    monkeypatch.setattr(set_up, "find_accelerator", lambda: "cpu")
    set_up.main("test")  # must leave it one for cuda12
    assert set_up.is_ready("test", "cuda12")


@pytest.mark.parametrize(
    "error, code",
    [
        (subprocess.CalledProcessError(1, "pip"), 2),
        (OSError(28, "No space left on device"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_failure_is_one_line_and_leaves_nothing_ready(folder, monkeypatch, capsys, error, code):
    def fail(lock, *command):
        if "--editable" in command:
            raise error

    monkeypatch.setattr(set_up, "run", fail)
    monkeypatch.setattr(set_up, "find_accelerator", lambda: "cpu")
    assert set_up.main("run") == code
    assert capsys.readouterr().err.splitlines()[-1].startswith("defect_jax: set-up ")
    assert not set_up.is_ready("run", "cpu")


def test_second_set_up_waits_for_the_first_and_uses_it(folder, commands, capsys):
    (folder / ".venv").mkdir()
    with set_up.LOCK.open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = threading.Thread(target=set_up.main, args=["run"])
        second.start()
        while "waiting" not in capsys.readouterr().err:
            time.sleep(0.01)
        set_up.stamp("run").write_text(set_up.fingerprint("cpu"))
    second.join(timeout=60)
    assert not second.is_alive()
    assert commands == []
