"""JSON within limits: data or one line, however it was made."""

import json
import os
import string
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defect_jax.runtime.errors import UserError
from defect_jax.runtime.json_files import MOST_DEPTH, NotJson, parse, read_json, read_limited

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1)
SCALARS |= st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    SCALARS,
    lambda of: st.lists(of, max_size=3) | st.dictionaries(st.text('ab[{\\"'), of),
    max_leaves=9,
)


@given(VALUES)
def test_what_a_program_writes_is_read_as_it_was(value):
    assert parse(json.dumps(value)) == value
    assert parse(json.dumps(value, ensure_ascii=False)) == value


@pytest.mark.fuzz
@given(st.text(string.digits + '[]{}",:\\ eE.-+nulltruefalseNaN\ud800\x00'))
def test_any_text_is_data_or_a_line(text):
    try:
        parse(text)
    except NotJson as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("NaN", "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("1e400", "1e400 is out of range"),
        ("-1e999", "-1e999 is out of range"),
        (str(2**63), "9223372036854775808 is out of range"),
        ("9" * 5000, "is out of range"),
        ('{"a": 1, "a": 1}', "'a' is there twice"),
        ('{"a": {"b": 1, "b": 2}}', "'b' is there twice"),
        ("[" * 17 + "]" * 17, "more than 16 brackets"),
        ("[" * 10**6, "more than 16 brackets"),
        ('{"a":' * 10**5, "more than 16 brackets"),
        ('"' + '\\"' * 10**6, "is not JSON"),  # in a time that grows with the length alone
        ('"\\ud800"', "no Unicode"),
        ("", "is not JSON"),
        ("{'a': 1}", "is not JSON"),
        ("[1,]", "is not JSON"),
    ],
)
def test_what_python_would_take_or_choke_on_is_refused(text, says):
    with pytest.raises(NotJson, match=says):
        parse(text)


def test_brackets_in_a_text_are_not_depth():
    text = "[{" * 100 + '\\"['
    assert parse(json.dumps([text])) == [text]
    deepest = "[" * MOST_DEPTH + "]" * MOST_DEPTH
    assert json.dumps(parse(deepest)) == deepest


def test_files_that_are_none_are_named(tmp_path):
    large, odd, fifo = tmp_path / "large", tmp_path / "odd", tmp_path / "fifo"
    large.write_bytes(b"1" * 101)
    odd.write_bytes(b'"\xff"')
    os.mkfifo(fifo)
    with pytest.raises(UserError, match="large: cannot be read: it has more than 100 bytes"):
        read_limited(large, 100)
    with pytest.raises(UserError, match="odd: cannot be read: it is not UTF-8"):
        read_json(odd)
    with pytest.raises(UserError, match="cannot be read: Is a directory|no regular file"):
        read_json(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none")
    reading = threading.Thread(
        target=lambda: pytest.raises(UserError, read_json, fifo), daemon=True
    )
    reading.start()
    reading.join(timeout=20)
    assert not reading.is_alive()  # nobody writes into it
    with pytest.raises(UserError, match="zero: cannot be read: it is no regular file"):
        from pathlib import Path

        read_json(Path("/dev/zero"))
