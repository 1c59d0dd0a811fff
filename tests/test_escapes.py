"""What others wrote neither drives a terminal nor computes in a spreadsheet, and stays findable."""

import csv
import io
import unicodedata

import hypothesis
import pytest
from hypothesis import strategies

from defect_jax.runtime.escapes import csv_text, from_cell, strange, visible

ANY = strategies.text(strategies.characters(codec=None))


@hypothesis.given(ANY, strategies.sampled_from(["utf-8", "ascii", "latin-1", "cp437"]))
def test_nothing_that_is_shown_controls_a_terminal_or_fails_to_be_written(text, encoding):
    shown = visible(text, encoding)
    shown.encode(encoding)
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("prüf.png: is empty", "prüf.png: is empty"),
        ("a\x1b]52;c;aGk=\x07", r"a\x1b]52;c;aGk=\x07"),  # writes into the clipboard
        ("a\x9b2J", r"a\x9b2J"),  # the same as ESC [ in eight bits
        ("one\ntwo\r\tthree\x7f", r"one\ntwo\r\tthree\x7f"),
        ("\u202egnp.exe\u2069\u200f", r"\u202egnp.exe\u2069\u200f"),
        ("bad\udcff.png", r"bad\udcff.png"),
        ("\u2028", r"\u2028"),
    ],
)
def test_what_is_not_seen_is_written_out(text, shown):
    assert visible(text) == shown


def test_a_stream_that_lacks_a_character_gets_its_number():
    assert visible("prüf.png – 検査", "ascii") == r"pr\xfcf.png \u2013 \u691c\u67fb"


@pytest.mark.parametrize("name", ["prüf 2.png", "検査/1", "-5", "=x", "می\u200cخواهم", "a'b"])
def test_names_of_all_scripts_are_good_names(name):
    assert strange(name) == ""


@pytest.mark.parametrize("character", "\0\x07\x1b\n\x7f\x9b\u061c\u200e\u202a\u202e\u2066\u2069")
def test_names_hold_no_control_characters_and_none_that_turns_the_text(character):
    assert strange(f"a{character}b") == visible(character)


@hypothesis.given(strategies.lists(strategies.lists(ANY, min_size=2, max_size=3)))
def test_cells_come_back_as_they_were_and_none_begins_like_a_formula(rows):
    read = list(csv.reader(io.StringIO(csv_text(rows), newline="")))
    assert [[from_cell(cell) for cell in row] for row in read] == rows
    for cell in (cell for row in read for cell in row):
        assert not cell.startswith(("=", "+", "@", "\t", "\n", "＝", "＋", "－", "＠"))
        assert not cell.startswith("-") or float(cell) <= 0


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("@x", "'@x"),
        ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("-5", "-5"),
        (-0.5, "-0.5"),
        (1e-9, "1e-09"),
        (None, ""),
        ("images/-x", "images/-x"),
    ],
)
def test_texts_alone_get_an_apostrophe(value, cell):
    assert next(csv.reader(io.StringIO(csv_text([[value, 1]]), newline="")))[0] == cell
