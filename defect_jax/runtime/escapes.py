"""Text that comes from others, made harmless where it is shown: on a terminal, in a spreadsheet.

File names, groups and paths may hold anything. A terminal obeys control characters in them, and a
spreadsheet computes a cell that begins like a formula.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable

# Those that turn the direction of what follows, by which a name is read as another one.
BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Control characters, bytes that are no UTF-8, ends of lines; Cf are invisible, most of BIDI too.
NEVER_SHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")
NEVER_IN_A_NAME = ("Cc", "Cs", "Zl", "Zp")  # joiners, which are Cf, belong to some scripts

# The wide ones are taken for the narrow ones by spreadsheets in East Asia.
FORMULA = re.compile("[=+@\t\r\n\uff1d\uff0b\uff0d\uff20'-]")
CRLF = "\r\n"  # only what is in an end of line gets quoted within a cell
NUMBER = re.compile(r"-\d+(\.\d*)?")


def visible(text: str, encoding: str | None = "utf-8") -> str:
    r"""Return one line in which every character is seen, and none moves the cursor.

    Args:
        encoding: of the stream that shows it; what it lacks is written out too.

    >>> visible("a\x1b[2Jb\u202egnp.x\n"), visible("prüf.png", "ascii")
    ('a\\x1b[2Jb\\u202egnp.x\\n', 'pr\\xfcf.png')
    """
    shown = (_written_out(c) if unicodedata.category(c) in NEVER_SHOWN else c for c in text)
    return (
        "".join(shown).encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")
    )


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def strange(name: str) -> str:
    r"""Return the characters that no name may have, written out; nothing for a good name.

    >>> strange("line 2/prüf.png"), strange("a\x1b]52;\u202e")
    ('', '\\x1b\\u202e')
    """
    if name.isascii() and name.isprintable():
        return ""  # as nearly all are, and there may be a million
    return "".join(
        _written_out(c)
        for c in dict.fromkeys(name)
        if c in BIDI or unicodedata.category(c) in NEVER_IN_A_NAME
    )


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV that a spreadsheet shows and does not compute; None is an empty cell.

    A text that begins like a formula gets an apostrophe before it, which `from_cell` takes away.

    >>> csv_text([("=1+1", -0.5, None), ("'a", "-5", "-a")])
    "'=1+1,-0.5,\\n''a,-5,'-a\\n"
    """
    return "".join(f"{_line([_cell(value) for value in row])}\n" for row in rows)


def _line(cells: list[object]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=CRLF).writerow(cells)
    return text.getvalue().removesuffix(CRLF)


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def from_cell(text: str) -> str:
    """Return the text that `csv_text` wrote into a cell.

    >>> from_cell("'=1+1"), from_cell("''a"), from_cell("a")
    ('=1+1', "'a", 'a')
    """
    return text.removeprefix("'")
