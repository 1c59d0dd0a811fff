"""Progress yields everything, in lines where there is no terminal."""

import signal

from defect_jax import interrupts, progress


def test_plain_lines_say_how_far_and_how_fast(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_LINE_EVERY_S", 0.0)
    assert list(progress.track(iter("abc"), "reading", 3)) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("reading: 1/3, ") and lines[0].endswith(" s left")
    assert lines[-1].startswith("reading: 3/3 in ")


def test_brackets_in_a_line_are_not_markup(capsys):
    progress.say("picture [red] of [0, 1]")
    assert capsys.readouterr().err == "picture [red] of [0, 1]\n"


def test_a_signal_is_noticed_and_the_old_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with interrupts.noticed() as came:
        assert came() is None
        signal.raise_signal(signal.SIGTERM)
        assert came() == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == before  # a second one ends at once
    assert signal.getsignal(signal.SIGTERM) == before
