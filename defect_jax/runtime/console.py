"""Progress of long work: a bar on a terminal, plain lines elsewhere; and the lines of an answer.

Whatever is shown is made harmless first. A reader that has gone, such as `head -1`, ends the
program as a signal does: quietly, and with a checkpoint where it trains.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from defect_jax.runtime import signals
from defect_jax.runtime.escapes import visible

T = TypeVar("T")
PLAIN_LINE_EVERY_S = 10.0
ESTIMATED_FROM = 3  # whoever waits for long work wants to know at once how long


def say(text: str) -> None:
    """Print one line for the person who watches; a bar that is running moves out of its way."""
    shown = visible(text, sys.stderr.encoding)
    try:
        _console().print(shown, markup=False, highlight=False, emoji=False, soft_wrap=True)
    except OSError:  # the terminal is gone, or the disk of the log is full: the work goes on
        be_silent()


def own_command() -> str:
    """Return how the person who watches starts this program."""
    if os.environ.get("DEFECT_JAX_COMMAND"):  # of launch/local.sh
        return os.environ["DEFECT_JAX_COMMAND"]
    is_script = os.path.basename(sys.argv[0]) == "defect-jax"
    return "defect-jax" if is_script else "python -m defect_jax.main"


def answer(text: str) -> None:
    """Print one line of what was asked for, on standard output.

    Raises:
        OSError: the disk that it goes to is full.
        signals.Stopped: nobody reads it any more.
    """
    try:
        print(visible(text, sys.stdout.encoding), flush=True)
    except BrokenPipeError:
        _end_with_reader(sys.stdout)
    except OSError:
        _let_go(sys.stdout)
        raise


class _Stderr(Console):
    """A console whose reader may go."""

    def on_broken_pipe(self) -> None:
        """Take the place of rich's answer, which is to end with exit code 1 at once."""
        be_silent()
        _end_with_reader(sys.stderr)


def _end_with_reader(stream: TextIO) -> None:
    _let_go(stream)
    signals.ask(signal.SIGPIPE)


def _let_go(stream: TextIO) -> None:
    """Forget what could not be written: Python would try it again at its end, and complain."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def track(
    iterable: Iterable[T], description: str, total: int, note: Callable[[], str] = str
) -> Iterator[T]:
    """Yield from `iterable` and show how far it is, how fast, and how long it will still take.

    Args:
        note: what else to show beside that, asked for each time.
    """
    follow = _bar if _console().is_terminal else _lines
    yield from follow(iterable, description, total, note)


def be_silent() -> None:
    """Show nothing from now on: of several hosts one speaks for all."""
    _consoles.clear()
    _consoles[id(sys.stderr)] = Console(file=sys.stderr, quiet=True)


_consoles: dict[int, Console] = {}


def _console() -> Console:
    """Return one console for lines and bars, which must know of each other; anew when stderr
    changes."""
    if id(sys.stderr) not in _consoles:
        _consoles.clear()
        _consoles[id(sys.stderr)] = _Stderr(file=sys.stderr)
    return _consoles[id(sys.stderr)]


def _bar(
    iterable: Iterable[T], description: str, total: int, note: Callable[[], str]
) -> Iterator[T]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    start = time.monotonic()
    # Else rich takes sys.stdout, and shows what a library prints into a place that nobody reads.
    with Progress(*columns, console=_console(), redirect_stdout=False) as progress:
        task = progress.add_task(visible(description), total=total, rate="", note=note())
        for count, item in enumerate(iterable, 1):
            yield item
            rate = count / max(time.monotonic() - start, 1e-9)
            progress.update(task, completed=count, rate=f"{rate:.1f}/s", note=note())


def _lines(
    iterable: Iterable[T], description: str, total: int, note: Callable[[], str]
) -> Iterator[T]:
    start = shown = time.monotonic()
    count = 0
    for count, item in enumerate(iterable, 1):
        yield item
        now = time.monotonic()
        left_s = (total - count) * (now - start) / count
        estimated = count == ESTIMATED_FROM and left_s >= PLAIN_LINE_EVERY_S
        if now - shown >= PLAIN_LINE_EVERY_S or estimated:
            shown = now
            rate, left = count / max(now - start, 1e-9), f"{left_s:.0f} s left"
            shown_parts = [f"{description}: {count}/{total}", f"{rate:.1f}/s", left, note()]
            say(", ".join(part for part in shown_parts if part))
    say(f"{description}: {count}/{total} in {time.monotonic() - start:.1f} s")
