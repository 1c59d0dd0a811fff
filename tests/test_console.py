"""Progress yields everything, in lines where there is no terminal."""

from defect_jax.runtime import console


def test_plain_lines_say_how_far_and_how_fast(capsys, monkeypatch):
    monkeypatch.setattr(console, "PLAIN_LINE_EVERY_S", 0.0)
    assert list(console.track(iter("abc"), "reading", 3)) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("reading: 1/3, ") and lines[0].endswith(" s left")
    assert lines[-1].startswith("reading: 3/3 in ")


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
