"""JSON that may come from somebody else: read within limits, and never more than data.

Python's own reader takes what no program of ours writes: NaN, numbers beyond every range, a name
twice (the last one wins), nesting as deep as memory goes. Each is refused here, in one line.
"""

import json
import math
import os
import re
import stat
from typing import Any, NoReturn

from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath, is_remote, os_errors

MOST_BYTES = 1 << 20
MOST_DEPTH = 16
MOST_DIGITS = 19  # of a whole number, which must fit into 64 bits
MARKS = re.compile(r'\\.|["\[\]{}]', re.DOTALL)  # a backslash takes what is behind it


class NotJson(ValueError):
    """A text is not JSON, or not within the limits."""


def read_json(path: AnyPath, most_bytes: int = MOST_BYTES) -> Any:
    """Return what a JSON file holds.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it cannot be read, or is not JSON within the limits; `path` is named.
    """
    text = read_limited(path, most_bytes)
    try:
        return parse(text)
    except NotJson as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def read_limited(path: AnyPath, most_bytes: int) -> str:
    """Return a text file of at most so many bytes; nothing but a regular file is opened.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it cannot be read, or is larger; `path` is named.
    """
    try:
        return limited_bytes(path, most_bytes).decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: cannot be read: it is not UTF-8") from None


def limited_bytes(path: AnyPath, most_bytes: int) -> bytes:
    """Return the bytes of a file, as `read_limited` its text.

    Raises:
        as `read_limited`.
    """
    try:
        read = _read_object if is_remote(path) else _read_regular
        data = read(path, most_bytes + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > most_bytes:
        raise UserError(f"{path}: cannot be read: it has more than {most_bytes:,} bytes")
    return data


def _read_object(path: AnyPath, most_bytes: int) -> bytes:
    with os_errors(path), path.open("rb") as file:
        return file.read(most_bytes)


def _read_regular(path: AnyPath, most_bytes: int) -> bytes:
    # Without O_NONBLOCK a FIFO would be waited for.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "it is no regular file")
        return file.read(most_bytes)


def parse(text: str) -> Any:
    """Return what a JSON text holds.

    Raises:
        NotJson: it is none, or has NaN or infinity, a number out of range, a name twice, or more
            than `MOST_DEPTH` brackets inside each other.

    >>> parse('{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    """
    _refuse_deep(text)
    try:
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_short,
            object_pairs_hook=_without_doubles,
        )
        # Half of a pair of surrogates is no character, and could be written nowhere.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except NotJson:
        raise
    except UnicodeEncodeError:
        raise NotJson("it has text that is no Unicode") from None
    except ValueError as error:
        raise NotJson(f"it is not JSON: {error}") from None
    return value


def _refuse_deep(text: str) -> None:
    depth, in_string = 0, False
    for mark in MARKS.finditer(text):
        if mark[0] == '"':
            in_string = not in_string
        elif not in_string:
            depth += (mark[0] in "[{") - (mark[0] in "]}")
        if depth > MOST_DEPTH:
            raise NotJson(f"it has more than {MOST_DEPTH} brackets inside each other")


def _refuse_constant(name: str) -> NoReturn:
    raise NotJson(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NotJson(f"{text[:20]} is out of range")
    return value


def _short(text: str) -> int:
    # Python itself refuses thousands of digits, and takes its time for hundreds.
    if len(text) > MOST_DIGITS + 1 or not -(2**63) <= int(text) < 2**63:
        raise NotJson(f"{text[:20]} is out of range")
    return int(text)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise NotJson(f"{double[:40]!r} is there twice")
    return values
