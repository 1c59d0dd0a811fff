"""Programs that are timed in turn: each a process of its own, idle while another one measures.

The parent writes a line of JSON to a process and reads one back; whatever else the process prints
goes to its log.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class Failed(RuntimeError):
    """A program has ended before it answered; the message holds its last words."""


class Program:
    """The parent's end: starts a Python module and asks it."""

    def __init__(self, python: str, module: str, arguments: Sequence[str] = ()):
        """Start a module, which must call `serve`."""
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [python, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def ask(self, request: str, **fields: Any) -> Any:
        """Return what the program's function `request` returns.

        Raises:
            Failed: it has ended.
        """
        try:
            self._process.stdin.write(json.dumps({"request": request} | fields) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its last words are read below
        if line := self._process.stdout.readline():
            return json.loads(line)
        self._log.seek(0)
        raise Failed((self._log.read().splitlines() or ["no word"])[-1])

    def close(self) -> None:
        """End the program, and return when its memory is free."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._log.close()


def use_processors(count: int) -> None:
    """Leave this process that many processors, where the system can: XLA takes all it may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def serve(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Answer until the parent closes: the program's end."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print
    for line in sys.stdin:
        fields = json.loads(line)
        answer = functions[fields.pop("request")](**fields)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
