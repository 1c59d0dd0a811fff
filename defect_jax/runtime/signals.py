"""SIGTERM, SIGINT, SIGHUP: a training saves at its next boundary and ends, anything else at once.

Signals belong to the process, so this module keeps them for all of it. Boundaries are the places
where a run may end: each step, each batch of an evaluation. On several hosts the signal comes to
one of them, and JAX's preemption service has all of them stop at the same boundary; each host must
come to the same boundaries in the same order.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal a child gets when its parent dies


class Stopped(SystemExit):
    """A signal asked the program to end; the exit code is 128 + signal."""

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.number = number


class _Process:
    """What this process knows of signals and boundaries."""

    came: int | None = None
    deferring = False
    boundaries = 0
    all_agree: Callable[[int], bool] | None = None  # with several hosts: to stop at this boundary


def watch() -> None:
    """Have the first signal end the program in good order, and a second Ctrl-C at once."""
    handle(_note)


def handle(handler: Callable[[int, FrameType | None], None]) -> None:
    """Have a function called for each signal; SIGHUP stays ignored where `nohup` asked for that."""
    for number in SIGNALS:
        if (number, signal.getsignal(number)) != (signal.SIGHUP, signal.SIG_IGN):
            signal.signal(number, handler)


def agree_with_hosts() -> None:
    """Stop at the same boundary as all hosts from now on; to be called after `jax.distributed`'s
    start.

    Orbax asks JAX's preemption service too, at each save and with numbers of its own. The service
    cannot tell two counts apart: hosts then stopped at different steps, or waited for ever.
    """
    from jax.experimental import multihost_utils

    _Process.all_agree = staticmethod(multihost_utils.reached_preemption_sync_point)
    multihost_utils.reached_preemption_sync_point = lambda step_id: False


@contextmanager
def deferred() -> Iterator[None]:
    """Have a signal wait for the next `check_preemption`; obey it at the latest when this ends."""
    outer, _Process.deferring = _Process.deferring, True
    try:
        yield
    finally:
        _Process.deferring = outer
    if not outer:
        while_waiting()


def ask(number: int) -> None:
    """Do what the coming of a signal does, where a fault has the meaning of one.

    Raises:
        Stopped: at once, unless it is deferred or several hosts have to agree.
    """
    _note(number, None)


def came() -> int | None:
    """Return the signal that came to this process, if one did."""
    return _Process.came


def check_preemption() -> None:
    """Mark a place where the run may end; on several hosts all stop at the same one.

    Raises:
        Stopped: a signal came.
    """
    _Process.boundaries += 1
    number = _Process.came
    if _Process.all_agree is not None:
        number = (number or signal.SIGTERM) if _Process.all_agree(_Process.boundaries) else None
    if number is not None:
        raise Stopped(number)


def while_waiting() -> None:
    """Do as `check_preemption` on one host, nothing on several: where only this host is waiting.

    Raises:
        Stopped: a signal came.
    """
    if _Process.came is not None and _Process.all_agree is None:
        raise Stopped(_Process.came)


def let_go_of_lost_terminal() -> None:
    """Write into nothing from now on where the terminal is gone: any line would be an OSError."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for output in (1, 2):
        try:
            os.write(output, b"")
        except OSError:
            os.dup2(nothing, output)
    os.close(nothing)


def _note(number: int, frame: FrameType | None) -> None:
    del frame
    if number == signal.SIGHUP:
        let_go_of_lost_terminal()
    if _Process.came is not None:
        if number == signal.SIGINT:
            os._exit(128 + number)
        return  # cluster managers send SIGTERM more than once, and SIGKILL when they mean it
    _Process.came = number
    if _Process.all_agree is not None:
        # JAX listens to SIGTERM alone, and tells the other hosts; it has taken over its handler.
        os.kill(os.getpid(), signal.SIGTERM)
    elif not _Process.deferring:
        raise Stopped(number)


def end_with_parent(parent_pid: int) -> None:
    """Have this child be killed when its parent dies.

    Elsewhere than on Linux nothing does this.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before we asked
        os._exit(128 + signal.SIGKILL)
