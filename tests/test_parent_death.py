"""A child that asked for it dies with its parent, however the parent ends."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

# Elsewhere nothing does this, as the docstring says.
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
ROOT = pathlib.Path(__file__).parent.parent
CHILD = """
import os, sys, time
from defect_jax.runtime import signals
signals.end_with_parent(int(sys.argv[1]))
print(os.getpid(), flush=True)
time.sleep(600)
"""
PARENT = f"""
import os, subprocess, sys
subprocess.run([sys.executable, "-c", {CHILD!r}, str(os.getpid())])
"""


def is_alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_child_dies_with_a_parent_that_is_killed():
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        assert is_alive(child)
        process.kill()
    deadline = time.monotonic() + 10
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(child)


def test_a_child_whose_parent_is_gone_already_ends_at_once():
    gone = os.getpid() + 1  # not the parent of what is started here
    result = subprocess.run([sys.executable, "-c", CHILD, str(gone)], cwd=ROOT, timeout=60)
    assert result.returncode == 128 + signal.SIGKILL
