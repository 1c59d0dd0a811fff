"""Signals: at once outside of the loop, at the next boundary inside, never lost."""

import os
import pty
import signal
import subprocess
import sys

import pytest

from defect_jax.runtime import signals
from defect_jax.runtime.compilation import Peeked, compile_ahead


@pytest.fixture
def watched(monkeypatch):
    before = {number: signal.getsignal(number) for number in signals.SIGNALS}
    monkeypatch.setattr(signals._Process, "came", None)
    monkeypatch.setattr(signals._Process, "deferring", False)
    signals.watch()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_outside_a_signal_ends_the_program_at_once(watched, number, code):
    with pytest.raises(SystemExit) as stop:
        signal.raise_signal(number)
    assert stop.value.code == code


def test_sighup_stays_ignored_where_nohup_asked_for_that(watched):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.watch()
    signal.raise_signal(signal.SIGHUP)
    assert signals.came() is None


CLOSED = """
import signal
import sys
from defect_jax.runtime import signals
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests under nohup ignores it
signals.watch()
with signals.deferred():
    print("ready", flush=True)
    while signals.came() is None:
        pass
    print("saved step 8", flush=True)  # into a terminal that is gone
    print("saved step 8", file=sys.stderr, flush=True)
    open(sys.argv[1], "w").write("saved")
"""


@pytest.mark.filterwarnings("ignore:.*fork.*")  # JAX warns, but the child uses none of it
def test_a_closed_terminal_does_not_keep_a_run_from_saving(tmp_path):
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", CLOSED, str(tmp_path / "saved")])
    assert os.read(terminal, 100).startswith(b"ready")
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert (tmp_path / "saved").read_text() == "saved"


def test_inside_it_waits_for_a_boundary(watched):
    reached = []
    with pytest.raises(signals.Stopped) as stop, signals.deferred():
        signals.check_preemption()
        signal.raise_signal(signal.SIGTERM)
        reached.append("still here")
        signals.check_preemption()
        reached.append("too far")
    assert reached == ["still here"] and stop.value.number == signal.SIGTERM
    assert not signals._Process.deferring


def test_one_after_the_last_boundary_is_obeyed_at_the_end(watched):
    with pytest.raises(signals.Stopped), signals.deferred():
        signal.raise_signal(signal.SIGINT)
        assert signals.came() == signal.SIGINT


def test_a_repeated_sigterm_changes_nothing(watched):
    with pytest.raises(signals.Stopped) as stop, signals.deferred():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        signals.check_preemption()
    assert stop.value.code == 130


def test_a_second_control_c_ends_at_once():
    code = """
import signal
from defect_jax.runtime import signals
signals.watch()
with signals.deferred():
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    print("too far")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (130, "")


def test_a_signal_during_compilation_does_not_wait_for_the_compiler(watched):
    class Endless:
        def lower(self):
            signal.raise_signal(signal.SIGTERM)
            return self

        def compile(self):
            import threading

            threading.Event().wait()

    with pytest.raises(signals.Stopped), signals.deferred():
        compile_ahead("endless step", Endless())


def test_a_loader_that_the_signal_ended_too_is_no_fault(watched):
    def loader(signalled):
        yield "first"
        if signalled:
            signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("Worker process was terminated unexpectedly")

    with pytest.raises(signals.Stopped), signals.deferred():
        list(Peeked(loader(signalled=True)))


def test_a_loader_that_ends_by_itself_is_a_fault(watched):
    def loader():
        yield "first"
        raise RuntimeError("Worker process was terminated unexpectedly")

    with pytest.raises(RuntimeError, match="Worker"), signals.deferred():
        list(Peeked(loader()))
