"""Compiling ahead of the first step, so that the time it takes is seen and never spent twice."""

import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from defect_jax import interrupts, memory
from defect_jax.progress import say

LOOK_FOR_SIGNALS_EVERY_S = 0.2
THREAD = "defect_jax compiler"


def compile_ahead(name: str, jitted: Any, *arguments: Any) -> Callable[..., Any]:
    """Compiles a jitted function for these arguments and says how long that took.

    What comes back refuses arguments of any other shape, so it can never compile again unseen.

    Raises:
        interrupts.Stopped: a signal came meanwhile.
    """
    return compile_all_ahead({name: jitted}, *arguments)[name]


def compile_all_ahead(jitted: Mapping[str, Any], *arguments: Any) -> dict[str, Callable[..., Any]]:
    """Compiles several functions of the same arguments side by side, as `compile_ahead` does one.

    The compiler uses one core for much of its time.
    """
    futures = {
        name: _in_background(_compile, name, function, *arguments)
        for name, function in jitted.items()
    }
    while not all(future.done() for future in futures.values()):
        interrupts.while_waiting()
        concurrent.futures.wait(futures.values(), LOOK_FOR_SIGNALS_EVERY_S)
    ready = {name: future.result() for name, future in futures.items()}
    memory.give_back()
    return ready


def _compile(name: str, jitted: Any, *arguments: Any) -> Callable[..., Any]:
    say(f"compiling the {name} …")
    start = time.monotonic()
    ready = jitted.lower(*arguments).compile()
    say(f"compiled the {name} in {time.monotonic() - start:.1f} s")
    return ready


def _in_background(function: Callable[..., Any], *arguments: Any) -> concurrent.futures.Future:
    """The compiler cannot be interrupted; a pool's thread would keep a stopped program alive."""
    future: concurrent.futures.Future = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:  # noqa: BLE001  raised again by whoever waits
            future.set_exception(error)

    threading.Thread(target=run, name=THREAD, daemon=True).start()
    return future


def under_way() -> bool:
    """Whether a compiler is still at work for a program that waits for it no longer."""
    return any(thread.name == THREAD for thread in threading.enumerate())


class Peeked:
    """An iterator whose first element can be looked at before it is taken."""

    def __init__(self, iterator: Iterator[Any]):
        self._iterator = iterator
        self.first = self._produced()
        self._taken = False

    def __iter__(self) -> "Peeked":
        return self

    def __next__(self) -> Any:
        if self._taken:
            return self._produced()
        self._taken = True
        return self.first

    def close(self) -> None:
        """Ends what produces the elements, such as a loader's processes."""
        self._iterator.close()

    def _produced(self) -> Any:
        try:
            return next(self._iterator)
        except RuntimeError:
            # A signal to the whole group also ends a loader's process that has only just started.
            interrupts.while_waiting()
            raise
