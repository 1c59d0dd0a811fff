"""Progress yields everything, in lines where there is no terminal; what is shown is harmless."""

import contextlib
import io
import signal
import subprocess
import sys

import pytest
from programs import ROOT

from defect_jax.runtime import console


def test_plain_lines_say_how_far_and_how_fast(capsys, monkeypatch):
    monkeypatch.setattr(console, "PLAIN_LINE_EVERY_S", 0.0)
    assert list(console.track(iter("abc"), "reading", 3)) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("reading: 1/3, ") and lines[0].endswith(" s left")
    assert lines[-1].startswith("reading: 3/3 in ")


@pytest.mark.parametrize(
    ("total", "first"),
    [(100, "training: 3/100, 0.5/s, 194 s left"), (4, "training: 4/4 in 10.0 s")],
)
def test_how_long_it_will_take_is_said_after_three_steps(capsys, monkeypatch, total, first):
    seconds = iter(range(0, 10 * total, 2))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(seconds)))
    list(console.track(iter(range(total)), "training", total))
    assert capsys.readouterr().err.splitlines()[0] == first


def test_brackets_in_a_line_are_not_markup(capsys):
    console.say("image [red] of [0, 1]")
    assert capsys.readouterr().err == "image [red] of [0, 1]\n"


def test_a_note_stands_beside_the_rate(capsys, monkeypatch):
    monkeypatch.setattr(console, "PLAIN_LINE_EVERY_S", 0.0)
    notes = iter(["checkpoint 4", "checkpoint 8"])
    list(console.track(iter("ab"), "training", 2, lambda: next(notes)))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith(" s left, checkpoint 4") and lines[1].endswith(", checkpoint 8")


def test_a_silent_process_says_nothing(capsys, monkeypatch):
    monkeypatch.setattr(console, "_consoles", {})
    console.be_silent()
    console.say("nobody hears")
    assert list(console.track(iter("ab"), "training", 2)) == ["a", "b"]
    assert capsys.readouterr().err == ""


def test_what_is_shown_drives_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(console, "PLAIN_LINE_EVERY_S", 0.0)
    hostile = "a\x1b[2J\x07\x1b]52;c;aGk=\x07\u202eb\r\n"
    console.say(hostile)
    console.answer(hostile)
    list(console.track(iter("ab"), hostile, 2, lambda: hostile))
    for text in capsys.readouterr():
        assert text and not set(text) & set("\x1b\x07\u202e\r")


def test_a_bar_on_a_terminal_shows_no_markup_and_no_control_characters(monkeypatch):
    screen = io.StringIO()
    terminal = console.Console(file=screen, force_terminal=True, width=200)
    monkeypatch.setattr(console, "_console", lambda: terminal)
    list(console.track(iter("ab"), "reading [red]\x1b]52;\x07", 2, lambda: "[blink]note"))
    assert "[red]" in screen.getvalue() and "[blink]note" in screen.getvalue()
    assert "\x07" not in screen.getvalue() and "\x1b]52" not in screen.getvalue()


def test_a_bar_shows_nothing_of_what_a_library_prints_into_a_hole(monkeypatch):
    screen, hole = io.StringIO(), io.StringIO()
    terminal = console.Console(file=screen, force_terminal=True, width=200)
    monkeypatch.setattr(console, "_console", lambda: terminal)
    with contextlib.redirect_stdout(hole):
        for _ in console.track(iter("ab"), "Preparing", 2):
            print("Dataset prepared to /data/.x.partial")
    assert "Dataset" not in screen.getvalue() and hole.getvalue().count("Dataset") == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_stream_that_lacks_a_letter_is_no_reason_to_end(monkeypatch, encoding):
    for name, act in (("stdout", console.answer), ("stderr", console.say)):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, name, io.TextIOWrapper(raw, encoding, "strict"))
        act("prüf.png – \udcff")
        getattr(sys, name).flush()
        assert raw.getvalue().decode(encoding).startswith("pr")
        monkeypatch.undo()


PROGRAM = """
import sys, pathlib
from absl import flags
from defect_jax import command_line
from defect_jax.runtime.console import answer, say, track
def run():
    sys.stdin.readline()  # until the reader has gone
    for number in {numbers}:
        {act}(str(number))
    pathlib.Path({path!r}).write_text("all said")
command_line.start(run)
"""


@pytest.mark.parametrize(("act", "stream"), [("answer", "stdout"), ("say", "stderr")])
def test_a_reader_that_goes_ends_the_program_quietly_as_it_ends_others(tmp_path, act, stream):
    path = tmp_path / "said"
    program = PROGRAM.format(numbers="range(3)", act=act, path=str(path))
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, **pipes) as process:
        getattr(process, stream).close()
        process.stdin.write(b"\n")
        process.stdin.close()
        other = process.stderr if stream == "stdout" else process.stdout
        assert other.read() == b""
        assert process.wait(timeout=60) == 128 + signal.SIGPIPE
    assert not path.exists()


def test_a_log_on_a_full_disk_does_not_end_the_work(tmp_path):
    program = PROGRAM.format(numbers="range(3)", act="say", path=str(tmp_path / "said"))
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, input="", text=True, stderr=full
        )
    assert done.returncode == 0 and (tmp_path / "said").exists()
