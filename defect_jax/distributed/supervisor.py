"""The parent of a process that is one of several: it tells which host was lost.

When a host dies, JAX's distributed runtime aborts all other processes from C++, with a stack trace
and without a word that Python could catch. So on each host the work is done by a child, and this
parent passes signals on to it, shows what it says, and turns the abort into one line.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from types import FrameType

from defect_jax.runtime import signals

LOST = 75  # exit code: another host was lost, the same command goes on (EX_TEMPFAIL)
WORKER = "DEFECT_JAX_WORKER"  # set for the child: parent, timeout in s, file for the hosts' names
# The runtime's own log, from the first sign of trouble on.
TROUBLE = re.compile(r"^[WEF]\d{4} .* (coordination_service|preemption_sync|client\.h|distributed)")
NOISE = re.compile(r"^\[Gloo\] Rank|^[IW]\d{4} .* preemption_notifier")
# What JAX raises when a connection breaks, which is sooner than the runtime tells whose.
BROKEN = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "Connection")
UNHEALTHY = re.compile(r"stopped sending heartbeats\):\s*((?:\n?[\w:/]*\d+,?\s)+)")
NEVER_CAME = "CoordinationService/RegisterTask"
# The runtime's first process answers no request, or no heartbeat.
LEADER_GONE = ("Failed to send RPC to coordination service", "CoordinationService/Heartbeat")


def is_worker() -> bool:
    """Return whether this process is the child."""
    return WORKER in os.environ


def end_with_parent() -> None:
    """Have the child die with its parent."""
    signals.end_with_parent(int(_given()[0]))


def note_names(names: list[str]) -> None:
    """Tell the parent which process runs on which host."""
    pathlib.Path(_given()[2]).write_text(json.dumps(names))


def wait_for_verdict(error: Exception) -> None:
    """Give the runtime time to find the lost host, in the child, after a connection broke.

    It then aborts this process; when this returns, no host was lost.
    """
    if is_worker() and any(word in str(error) for word in BROKEN):
        time.sleep(int(_given()[1]) + 10)


def _given() -> list[str]:
    return os.environ[WORKER].split(":", 2)


def run_worker(host_timeout_s: int) -> int:
    """Start this program again as a child, wait for its end, and return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        names = pathlib.Path(folder) / "hosts.json"
        environment = os.environ | {WORKER: f"{os.getpid()}:{host_timeout_s}:{names}"}
        # In a session of its own: a Ctrl-C would reach it twice.
        child = subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            env=environment,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

        def pass_on(number: int, frame: FrameType | None) -> None:
            del frame
            signals.let_go_of_lost_terminal()
            child.send_signal(number)

        signals.handle(pass_on)
        held: list[str] = []
        reader = threading.Thread(target=_show, args=(child, held), daemon=True)
        reader.start()
        code = child.wait()
        reader.join(timeout=5)
        return _verdict(code, "".join(held), _names(names), host_timeout_s)


def _show(child: subprocess.Popen, held: list[str]) -> None:
    """Pass the child's lines on; the runtime's last words are held back."""
    for line in child.stderr:
        text = line.decode(errors="replace")
        if NOISE.search(text):
            continue
        if held or TROUBLE.search(text):
            held.append(text)
        else:
            sys.stderr.write(text)
            sys.stderr.flush()


def _names(path: pathlib.Path) -> list[str]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return []


def _verdict(code: int, held: str, names: list[str], host_timeout_s: int) -> int:
    lost = lost_processes(held)
    if code == -signal.SIGABRT and NEVER_CAME in held:
        print(
            "defect_jax: not all hosts came together in time: start the same command on all of "
            "them, with one coordinator address that all can reach",
            file=sys.stderr,
        )
        return LOST
    if code == -signal.SIGABRT and lost:
        which = " and ".join(described(index, names) for index in lost)
        print(
            f"defect_jax: {which} is lost: it ended, or did not answer for {host_timeout_s} s; "
            "the same command on all hosts goes on from the last checkpoint",
            file=sys.stderr,
        )
        return LOST
    if code not in (0, 2, *(128 + number for number in signals.SIGNALS)):
        sys.stderr.write(held)
    return 128 - code if code < 0 else code


def lost_processes(held: str) -> list[int]:
    """Return numbers of the processes that the runtime's last words blame.

    >>> lost_processes("The following tasks are unhealthy (stopped sending heartbeats):\\n"
    ...                "1\\n/job:jax_worker/replica:0/task:3\\nThe tasks have crashed.")
    [1, 3]
    >>> lost_processes("Failed to send RPC to coordination service. Either the leader task")
    [0]
    >>> lost_processes("DEADLINE_EXCEEDED: RPC: /xla.coordination.CoordinationService/Heartbeat")
    [0]
    >>> lost_processes("")
    []
    """
    found = UNHEALTHY.search(held)
    if found:
        return sorted({int(text) for text in re.findall(r"(\d+),?\s", found.group(1))})
    return [0] if any(words in held for words in LEADER_GONE) else []


def described(index: int, names: list[str]) -> str:
    """Return the process and host in words.

    >>> described(1, ["node-a", "node-b"])
    'process 1 of 2 (host node-b)'
    """
    if index < len(names):
        return f"process {index} of {len(names)} (host {names[index]})"
    return f"process {index}"
