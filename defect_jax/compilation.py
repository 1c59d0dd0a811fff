"""Compiling ahead of the first step, so that the time it takes is seen and never spent twice."""

import concurrent.futures
import time
from collections.abc import Callable, Iterator, Mapping
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


def compile_all_ahead(jitted: Mapping[str, Any], *arguments: Any) -> dict[str, Callable[..., Any]]:
    """Compiles several functions of the same arguments side by side, as `compile_ahead` does one.

    The compiler uses one core for much of its time.
    """
    with concurrent.futures.ThreadPoolExecutor(len(jitted)) as pool:
        ready = {
            name: pool.submit(compile_ahead, name, function, *arguments)
            for name, function in jitted.items()
        }
        return {name: future.result() for name, future in ready.items()}


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
