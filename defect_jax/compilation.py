"""Compiling ahead of the first step, so that the time it takes is seen and never spent twice."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from defect_jax.progress import say


def compile_ahead(name: str, jitted: Any, *arguments: Any) -> Callable[..., Any]:
    """Compiles a jitted function for these arguments and says how long that took.

    What comes back refuses arguments of any other shape, so it can never compile again unseen.
    """
    say(f"compiling the {name} …")
    start = time.monotonic()
    ready = jitted.lower(*arguments).compile()
    say(f"compiled the {name} in {time.monotonic() - start:.1f} s")
    return ready


class Peeked:
    """An iterator whose first element can be looked at before it is taken."""

    def __init__(self, iterator: Iterator[Any]):
        self._iterator, self.first = iterator, next(iterator)
        self._taken = False

    def __iter__(self) -> "Peeked":
        return self

    def __next__(self) -> Any:
        if self._taken:
            return next(self._iterator)
        self._taken = True
        return self.first
