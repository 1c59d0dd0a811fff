"""Two processes on this machine compute what one does, save together, and outlive no other."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from programs import CONFIG, LONG, SMALL

from defect_jax.distributed import cluster, supervisor
from defect_jax.distributed.cluster import Given
from defect_jax.runtime.errors import UserError

ROOT = pathlib.Path(__file__).parent.parent
HOST_TIMEOUT_S = 10


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def training(home, workdir):
    return CONFIG, *SMALL, f"--workdir={workdir}", f"--config.data.data_dir={home / 'data'}"


def start(home, workdir, processes, *arguments):
    """The program as a user starts it on each of several hosts."""
    port = free_port()
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    started = []
    for number in range(processes):
        command = [sys.executable, "-m", "defect_jax.main", *training(home, workdir), *arguments]
        if processes > 1:
            command += [f"--coordinator_address=127.0.0.1:{port}", f"--num_processes={processes}"]
            command += [f"--process_id={number}", f"--host_timeout_s={HOST_TIMEOUT_S}"]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment, **pipes))
    return started


def ends(started):
    """Exit codes and standard errors."""
    said = [process.communicate(timeout=400)[1] for process in started]
    return [process.returncode for process in started], said


def history(workdir):
    path = workdir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_steps(workdir, started):
    while not history(workdir):
        assert all(process.poll() is None for process in started), ends(started)
        time.sleep(0.05)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("hosts")


@pytest.fixture(scope="module")
def pair(home, forked):
    """A run of two processes, after the same run of one."""
    adaptive = {"most_often": 4.0, "every_steps": 3}  # both must draw the same again and again
    asked = [f"--config.data.adaptive.{name}={value}" for name, value in adaptive.items()]
    asked.append("--config.train.eval_every_steps=8")
    alone = forked.run(*training(home, home / "one"), *asked)
    assert alone.returncode == 0, alone.stderr
    codes, said = ends(start(home, home / "two", 2, *asked))
    assert codes == [0, 0], said
    return home / "two", said


def test_two_processes_compute_what_one_does(pair, home):
    two, one = history(pair[0]), history(home / "one")
    assert [(line["step"], line["split"]) for line in two] == [
        (line["step"], line["split"]) for line in one
    ]
    for mine, theirs in zip(two, one, strict=True):
        values = {name: (mine[name], theirs[name]) for name in mine if name.startswith("loss")}
        for name, (left, right) in values.items():
            np.testing.assert_allclose(left, right, rtol=1e-5, err_msg=name)


def test_one_process_writes_and_speaks_for_all(pair):
    workdir, (first, second) = pair
    assert "2 processes on" in first and "step 8 val" in first
    assert second == ""
    assert (workdir / "eval/report.html").exists()


@pytest.mark.heavy
def test_a_signal_to_one_has_all_save_the_same_step_and_one_process_goes_on(pair, home):
    workdir = home / "stopped"
    started = start(home, workdir, 2, *LONG)
    wait_for_steps(workdir, started)
    started[1].send_signal(signal.SIGTERM)
    codes, said = ends(started)
    assert codes == [143, 143], said
    saved = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    assert f"saved step {saved}" in said[0]
    (alone,) = start(home, workdir, 1, *LONG, "--resume=must")
    while max(line["step"] for line in history(workdir)) <= saved + 2:
        assert alone.poll() is None, alone.communicate()
        time.sleep(0.05)
    alone.send_signal(signal.SIGTERM)
    codes, said = ends([alone])
    assert codes == [143] and f"going on from step {saved}" in said[0]


@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.heavy), 1])
def test_a_dead_host_is_named_and_ends_the_others(pair, home, victim):
    workdir = home / f"dead-{victim}"
    started = start(home, workdir, 2, *LONG)
    wait_for_steps(workdir, started)
    started[victim].kill()  # its child dies with it
    begin = time.monotonic()
    codes, said = ends(started)
    assert time.monotonic() - begin < HOST_TIMEOUT_S + 20
    assert codes[1 - victim] == supervisor.LOST
    last = said[1 - victim].strip().splitlines()[-1]
    assert f"process {victim} of 2 (host {socket.gethostname()}) is lost" in last
    assert "Check failure" not in said[1 - victim] and "Traceback" not in said[1 - victim]


def test_hosts_that_do_not_come_together_are_told_in_one_line():
    lone = "from defect_jax.distributed import cluster; cluster.CONNECT_WITHIN_S = 1; "
    lone += f"cluster.join(cluster.Given('127.0.0.1:{free_port()}', 2, 0), 10)"
    result = subprocess.run([sys.executable, "-c", lone], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == supervisor.LOST
    assert result.stderr.startswith("defect_jax: not all hosts came together in time")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "environment", "says"),
    [
        (Given("here:1", None, None), {}, "together"),
        (Given("here:1", 2, 2), {}, "--process_id is 2: it must be from 0 to below"),
        (Given("here", 2, 1), {}, "HOST:PORT"),
        (Given(None, None, None), {"JAX_PROCESS_ID": "1"}, "together"),
        (Given(None, None, None), {"JAX_NUM_PROCESSES": "two"}, "invalid literal"),
    ],
)
def test_what_does_not_make_a_cluster_is_refused(given, environment, says, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=says):
        cluster.join(given, 60)


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        ({"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, True),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}, False),  # the batch script, outside of srun
        (dict.fromkeys(cluster.SLURM_STEP, "0") | {"SLURM_NTASKS": "1"}, False),
        (dict.fromkeys(cluster.SLURM_STEP, "0") | {"SLURM_NTASKS": "2"}, True),
    ],
)
def test_the_environment_tells_whether_there_are_several(environment, several, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(supervisor, "run_worker", lambda timeout_s: timeout_s)
    if not several:
        return cluster.join(Given(None, None, None), 60)
    with pytest.raises(SystemExit) as end:
        cluster.join(Given(None, None, None), 60)
    assert end.value.code == 60
