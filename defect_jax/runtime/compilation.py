"""Compiling: ahead of the first step, so that its time is seen, and kept for the next start."""

import concurrent.futures
import ctypes
import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from defect_jax.runtime import signals
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import as_path, is_remote
from defect_jax.runtime.program_memory import Advice, refuse_too_large

LOOK_FOR_SIGNALS_EVERY_S = 0.2
THREAD = "defect_jax compiler"
LOWERING = threading.Lock()
Program = tuple[Any, tuple[Any, ...]]  # a jitted function, and arguments or their forms
NO_ROOM = "RESOURCE_EXHAUSTED"  # how compilers that look at memory themselves say it


def free_some(share: float) -> str:
    """Return what can be done where nothing about the program can be changed."""
    del share
    return "end other programs, or take a machine with more memory"


def compile_ahead(
    name: str, jitted: Any, *arguments: Any, if_too_large: Advice = free_some
) -> Callable[..., Any]:
    """Compile a jitted function for these arguments and say how long that took.

    What comes back refuses arguments of any other shape, so it can never compile again unseen.

    Args:
        if_too_large: returns what the user can do where the program does not fit into the memory,
            given the share of it that does.

    Raises:
        signals.Stopped: a signal came meanwhile.
        UserError: it needs more memory than is free.
    """
    return compile_all_ahead({name: (jitted, arguments)}, if_too_large=if_too_large)[name]


def compile_all_ahead(
    programs: Mapping[str, Program], if_too_large: Advice = free_some
) -> dict[str, Callable[..., Any]]:
    """Compile several functions side by side, as `compile_ahead` does one.

    The compiler uses one core for much of its time.
    """
    futures = {
        name: _in_background(_compile, name, jitted, *arguments)
        for name, (jitted, arguments) in programs.items()
    }
    while not all(future.done() for future in futures.values()):
        signals.while_waiting()
        concurrent.futures.wait(futures.values(), LOOK_FOR_SIGNALS_EVERY_S)
    try:
        ready = {name: future.result() for name, future in futures.items()}
    except jax.errors.JaxRuntimeError as error:
        if NO_ROOM not in str(error):
            raise
        raise UserError(
            f"{', '.join(programs)}: no room on the device: {if_too_large(0.5)}"
        ) from error
    give_back_memory()
    for name, program in ready.items():
        refuse_too_large(name, program, if_too_large)
    return ready


def _compile(name: str, jitted: Any, *arguments: Any) -> Callable[..., Any]:
    say(f"compiling the {name} …")
    start = time.monotonic()
    # Tracing is Python: two at once take as long as one after the other, and meanwhile no compiler
    # would be at work.
    with LOWERING:
        lowered = jitted.lower(*arguments)
    ready = lowered.compile()
    say(f"compiled the {name} in {time.monotonic() - start:.1f} s")
    return ready


def _in_background(function: Callable[..., Any], *arguments: Any) -> concurrent.futures.Future:
    """Call a function in a thread that ends with the program.

    The compiler cannot be interrupted, and a pool's thread would keep a stopped program alive.
    """
    future: concurrent.futures.Future = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:  # noqa: BLE001  raised again by whoever waits
            future.set_exception(error)

    threading.Thread(target=run, name=THREAD, daemon=True).start()
    return future


def under_way() -> bool:
    """Return whether a compiler is still at work for a program that waits for it no longer."""
    return any(thread.name == THREAD for thread in threading.enumerate())


class Peeked:
    """An iterator whose first element can be seen before it is taken."""

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
        """End what produces the elements, such as a loader's processes."""
        self._iterator.close()

    def _produced(self) -> Any:
        try:
            return next(self._iterator)
        except RuntimeError:
            # A signal to the whole group also ends a loader's process that has only just started.
            signals.while_waiting()
            raise


def give_back_memory() -> None:
    """Have the C library return what was freed.

    The compiler frees some 500 MB for a network of full width, and glibc would hold it for as long
    as the process lives, beside the memory of the training step. Other C libraries need no word.
    """
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def start_cache(folder: str) -> None:
    """Switch on the cache of compiled programs where `config.compilation_cache` names a folder.

    To be called before the first computation.
    """
    if folder:
        folder = as_path(folder)
        if is_remote(folder):
            raise UserError(f"config.compilation_cache {folder}: must be a folder of this machine")
        cache_compilations(folder)


def cache_compilations(folder: pathlib.Path) -> None:
    """Keep compiled programs in `folder` for the next start.

    Whoever can write there can run code as this user, so it is closed to all others, and the cache
    is off unless asked for.

    Raises:
        UserError: the folder cannot be made, belongs to somebody else or is open to others.
    """
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise UserError(f"config.compilation_cache {folder}: {error.strerror}") from error
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise UserError(
            f"config.compilation_cache {folder}: must be yours alone (chmod 700), because "
            "whoever writes there runs code as you"
        )
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
