import fcntl
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from launch import accelerator, set_up

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
    (checkout.parent / "my_python").symlink_to(sys.executable)  # relative to where it is started
    assert start(checkout, "set_up.sh", "run", PYTHON="./my_python").returncode == 0
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


@pytest.mark.parametrize("planted", ["configs", "defect_jax"])
def test_modules_in_the_callers_folder_are_not_run(checkout, planted):
    """A folder of pictures from somebody else may hold modules with the names of ours."""
    write_script(checkout / "launch" / "set_up.sh", ":")
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    child = "subprocess.run([sys.executable, '-m', 'configs.base'])"
    for folder, says in ((checkout, "ours"), (checkout.parent, "planted")):
        for name in ("configs", "defect_jax") if says == "ours" else (planted,):
            (folder / name).mkdir()
            (folder / name / "base.py").write_text(f"print({says!r})")
            text = f"import subprocess, sys, configs.base; print({says!r}, flush=True); {child}"
            (folder / name / "main.py").write_text(text)
            (folder / name / "__init__.py").write_text(
                f"print({says!r}) if {says!r} != 'ours' else 0"
            )
    result = start(checkout, "local.sh", PYTHONDONTWRITEBYTECODE="1")
    assert result.stdout.split() == ["ours"] * 3, result.stderr


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


# Choosing the wheels.


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
    assert accelerator.wheels_for(answer) == wheels


def test_too_old_driver_is_said(capsys):
    accelerator.wheels_for("470.256.02, 8.6")
    assert "NVIDIA driver 470" in capsys.readouterr().err


def test_missing_nvidia_smi_means_no_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert accelerator.ask_nvidia() == ""
    write_script(tmp_path / "nvidia-smi", "echo no devices were found; exit 6")
    assert accelerator.ask_nvidia() == ""
    write_script(tmp_path / "nvidia-smi", "echo 580.65.06, 9.0")
    assert accelerator.ask_nvidia() == "580.65.06, 9.0\n"


# Knowing whether .venv is there, and making it.


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Points set_up at a checkout of its own, with short requirements."""
    (tmp_path / "launch").mkdir()
    monkeypatch.setattr(set_up, "ROOT", tmp_path)
    monkeypatch.setattr(set_up, "find_accelerator", lambda: "cpu")
    monkeypatch.delenv("DEFECT_JAX_EXTRAS", raising=False)
    for name in ("build", "cpu", "cuda12", "cuda13", "tpu", "cloud", "hub", "test"):
        set_up.requirements(name).write_text(f"{name}==1\n")
    return tmp_path


@pytest.fixture
def commands(folder, monkeypatch):
    """Records what set_up would run instead of running it; there must be no note by then."""
    recorded = []

    def record(lock, *command, **settings):
        assert not set_up.note().exists()  # killed here, all would be made anew
        (set_up.ROOT / ".venv").mkdir(exist_ok=True)
        words = [f"{name}={value}" for name, value in settings.items()] + [*map(str, command)]
        recorded.append(" ".join(words).replace(str(set_up.ROOT), "ROOT"))

    monkeypatch.setattr(set_up, "run", record)
    settings = {"UV_DEFAULT_INDEX": "https://index.example"}
    monkeypatch.setattr(set_up, "settings_for_uv", lambda python: settings)
    return recorded


def test_fresh_checkout_is_set_up_once(folder, commands):
    assert set_up.main("run") == 0
    python, build = "ROOT/.venv/bin/python", "ROOT/launch/requirements-build.txt"
    options = f"--quiet --python {python} --build-constraint {build} --compile-bytecode"
    index = "UV_DEFAULT_INDEX=https://index.example"
    assert commands == [
        f"{sys._base_executable} -m venv --clear ROOT/.venv",
        f"{python} -m pip install --quiet --require-hashes --only-binary=:all: -r {build}",
        f"{index} ROOT/.venv/bin/uv pip sync {options} --require-hashes "
        f"ROOT/launch/requirements-cpu.txt {build}",
        f"{index} ROOT/.venv/bin/uv pip install {options} --no-deps --editable ROOT",
    ]
    commands.clear()
    assert set_up.main("run") == 0
    assert commands == []


def synced(commands):
    """Names the requirement files that uv was last given, and whether .venv was kept."""
    sync = [command for command in commands if " sync " in command][-1]
    names = re.findall("requirements-([a-z0-9]*)", sync.partition("--require-hashes")[2])
    return names, not any("-m venv" in command for command in commands)


def test_test_requirements_are_added_to_a_whole_one(folder, commands):
    set_up.main("run")
    commands.clear()
    assert set_up.main("test") == 0
    assert synced(commands) == (["cpu", "test", "build"], True)
    commands.clear()
    assert set_up.main("run") == set_up.main("test") == 0
    assert commands == []


def test_the_cloud_extra_is_added_to_a_whole_one_and_stays(folder, commands, monkeypatch):
    set_up.main("test")
    monkeypatch.setenv("DEFECT_JAX_EXTRAS", "cloud")
    commands.clear()
    assert set_up.main("run") == 0
    assert synced(commands) == (["cpu", "test", "cloud", "build"], True)
    monkeypatch.delenv("DEFECT_JAX_EXTRAS")
    commands.clear()
    assert set_up.main("test") == set_up.main("run") == 0
    assert commands == []


def test_a_fresh_one_gets_the_cloud_extra_at_once(folder, commands, monkeypatch):
    monkeypatch.setenv("DEFECT_JAX_EXTRAS", "cloud")
    assert set_up.main("test") == 0
    assert synced(commands) == (["cpu", "test", "cloud", "build"], False)
    assert set(set_up.read_note()) == {"cpu", "test", "cloud", "build"}


def test_an_unknown_extra_is_one_line(folder, commands, monkeypatch, capsys):
    monkeypatch.setenv("DEFECT_JAX_EXTRAS", "cloud,clowd")
    assert set_up.main("run") == 2
    line = "defect_jax: DEFECT_JAX_EXTRAS: clowd is none of cloud, hub, wandb, mlflow\n"
    assert capsys.readouterr().err == line
    assert commands == []


@pytest.mark.parametrize("note", [None, "", '{"made_by"'])
def test_half_made_one_is_made_anew(folder, commands, note):
    (folder / ".venv").mkdir()
    if note is not None:
        set_up.note().write_text(note)
    assert set_up.main("run") == 0
    assert synced(commands) == (["cpu", "build"], False)


@pytest.mark.parametrize("name", ["build", "cpu", "cloud", "test"])
def test_other_pins_are_installed_in_place(folder, commands, monkeypatch, name):
    monkeypatch.setenv("DEFECT_JAX_EXTRAS", "cloud")
    set_up.main("test")
    set_up.requirements(name).write_text("other==2\n")
    monkeypatch.delenv("DEFECT_JAX_EXTRAS")
    commands.clear()
    assert set_up.main("run") == 0
    assert synced(commands) == (["cpu", "test", "cloud", "build"], True)


def test_other_python_or_place_makes_it_anew(folder, commands, monkeypatch):
    set_up.main("run")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version", "3.99.0 (main)")
        assert set_up.read_note() == {}
    with monkeypatch.context() as patch:
        patch.setattr(sys, "_base_executable", "/elsewhere/python3")
        assert set_up.read_note() == {}
    assert set(set_up.read_note()) == {"cpu", "build"}
    moved = folder.rename(folder.with_name("moved"))
    monkeypatch.setattr(set_up, "ROOT", moved)
    assert set_up.read_note() == {}
    commands.clear()
    assert set_up.main("run") == 0
    assert synced(commands) == (["cpu", "build"], False)


def test_accelerator_wheels_serve_a_machine_without_one(folder, commands, monkeypatch):
    found = ["cuda12"]
    monkeypatch.setattr(set_up, "find_accelerator", lambda: found[0])
    set_up.main("run")
    found[0] = "cpu"
    commands.clear()
    set_up.main("run")
    assert commands == []
    set_up.main("test")
    assert synced(commands) == (["cuda12", "test", "build"], True)
    found[0] = "cuda13"
    set_up.main("run")
    assert synced(commands)[0] == ["cuda13", "test", "build"]


@pytest.mark.parametrize(
    "error, code",
    [
        (subprocess.CalledProcessError(1, "uv"), 2),
        (OSError(28, "No space left on device"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_failure_is_one_line_and_leaves_nothing_ready(folder, monkeypatch, capsys, error, code):
    def fail(lock, *command, **settings):
        if "--editable" in command:
            raise error

    monkeypatch.setattr(set_up, "run", fail)
    monkeypatch.setattr(set_up, "settings_for_uv", lambda python: {})
    assert set_up.main("run") == code
    assert capsys.readouterr().err.splitlines()[-1].startswith("defect_jax: set-up ")
    assert not set_up.note().exists()


def test_second_set_up_waits_for_the_first_and_uses_it(folder, commands, capsys):
    (folder / ".venv").mkdir()
    with set_up.locked():
        second = threading.Thread(target=set_up.main, args=["run"])
        second.start()
        while "waiting" not in capsys.readouterr().err:
            time.sleep(0.01)
        note = {"made_by": set_up.made_by(), "requirements": set_up.wanted("cpu", [], [])}
        set_up.note().write_text(json.dumps(note))
    second.join(timeout=60)
    assert not second.is_alive()
    assert commands == []


def test_lock_is_held_by_what_a_killed_set_up_left(folder):
    with set_up.locked() as lock:
        left = subprocess.Popen(["sleep", "60"], pass_fds=[lock])
    with (folder / ".venv.lock").open("w") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        left.kill()
        left.wait()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# The package index.


def test_index_of_pip_is_handed_on_to_uv(folder, monkeypatch):
    file = folder / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://global.example\ncert = /etc/ca.pem\n"
        "extra-index-url =\n  https://a.example\n  https://b.example\n"
        "[install]\nindex-url = https://install.example\n"
    )
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    settings = {
        "UV_DEFAULT_INDEX": "https://install.example",
        "UV_INDEX": "https://a.example https://b.example",
        "SSL_CERT_FILE": "/etc/ca.pem",
    }
    assert set_up.settings_for_uv(sys.executable) == settings
    settings["UV_DEFAULT_INDEX"] = "https://user:it's@index.example/simple?a=b"
    monkeypatch.setenv("PIP_INDEX_URL", settings["UV_DEFAULT_INDEX"])
    assert set_up.settings_for_uv(sys.executable) == settings


def test_settings_of_uv_come_before_those_of_pip(folder, monkeypatch, capfd):
    show = [sys.executable, "-c", "import os; print(os.environ['UV_DEFAULT_INDEX'])"]
    with set_up.locked() as lock:
        set_up.run(lock, *show, UV_DEFAULT_INDEX="pip's")
        monkeypatch.setenv("UV_DEFAULT_INDEX", "mine")
        set_up.run(lock, *show, UV_DEFAULT_INDEX="pip's")
    assert capfd.readouterr().out == "pip's\nmine\n"


SHOW_SETTINGS = """import os
print(*sorted(name for name in os.environ if name.startswith(("PIP_", "PYTHON", "UV_"))))"""


def test_settings_that_would_install_elsewhere_are_dropped(checkout):
    (checkout / "launch" / "set_up.py").write_text(SHOW_SETTINGS)
    (checkout.parent / "bin" / "python3").symlink_to(sys.executable)
    names = ["PIP_TARGET", "PIP_CONSTRAINT", "PYTHONPATH", "PYTHONSAFEPATH", "UV_PYTHON"]
    names += ["UV_SYSTEM_PYTHON", "UV_NO_VERIFY_HASHES", "UV_NO_BUILD", "PIP_INDEX_URL", "UV_INDEX"]
    result = start(checkout, "set_up.sh", "run", **dict.fromkeys(names, "1"))
    kept = ["PIP_INDEX_URL", "UV_INDEX"]
    ours = ["PIP_DISABLE_PIP_VERSION_CHECK", "PIP_NO_INPUT", "PIP_USER", "UV_INDEX_STRATEGY"]
    assert result.stdout.split() == sorted(kept + ours)


@pytest.mark.heavy
def test_real_set_up_from_hashed_pins(checkout):
    """Makes a real .venv of few packages: promise, which has no wheel, is built with our pins."""
    launch = checkout / "launch"
    for name in ("set_up.py", "accelerator.py", "requirements-build.txt"):
        (launch / name).write_bytes((ROOT / "launch" / name).read_bytes())
    pins = re.findall(
        r"^(?:promise|six)==(?:.*\\\n)*.*\n",
        (ROOT / "launch" / "requirements-cpu.txt").read_text(),
        re.MULTILINE,
    )
    wrong = [re.sub("sha256:.{8}", "sha256:00000000", pin) for pin in pins]

    def pin(*texts):
        for name in ("cpu", "cuda12", "cuda13", "tpu"):
            (launch / f"requirements-{name}.txt").write_text("".join(texts))

    (checkout / "pyproject.toml").write_text('[project]\nname = "defect_jax"\nversion = "1"\n')

    def set_up_here():
        command = [launch / "set_up.sh", "run"]
        environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": "/elsewhere"}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def installed():
        command = [checkout / ".venv" / "bin" / "python", "-m", "pip", "list", "--format=freeze"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return {line.partition("==")[0] for line in answer.splitlines()}

    pin(wrong[0], pins[1])
    result = set_up_here()
    assert result.returncode == 2
    assert "ash mismatch" in result.stderr
    assert result.stderr.endswith("see the message above: mend that and start again\n")
    pin(*pins)
    result = set_up_here()
    assert result.returncode == 0, result.stderr
    assert installed() == {"defect_jax", "pip", "promise", "setuptools", "six", "uv"}
    assert list((checkout / ".venv").rglob("six.*.pyc"))
    pin(pins[1])  # in place
    assert set_up_here().returncode == 0
    assert installed() == {"defect_jax", "pip", "setuptools", "six", "uv"}
