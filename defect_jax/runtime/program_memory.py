"""Whether a compiled program fits into the memory that is free: asked before it is run.

A system that runs out of memory ends a program without a word, after minutes of work.
"""

from collections.abc import Callable
from typing import Any

from defect_jax.runtime import memory
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.memory import GB, FreeMemory

Advice = Callable[[float], str]  # share of the memory needed that is free -> what the user can do


def refuse_too_large(name: str, compiled: Any, advice: Advice) -> None:
    """Refuse a program that needs more memory than there is.

    Args:
        compiled: a `jax.stages.Compiled`, whose arguments are on the devices already.
        advice: returns the end of the message.

    Raises:
        UserError: it does not fit.
    """
    analysis = compiled.memory_analysis()
    if analysis is None:
        return
    needed = needed_bytes(analysis)
    devices = compiled.runtime_executable().local_devices()
    if devices[0].platform == "cpu":
        needed, free = needed * len(devices), memory.free_bytes()  # all of them share it
    else:
        free = _least_free(devices)
    if free is not None and needed > free.bytes:
        does = f"the {name} needs {needed / GB:.1f} GB more memory, {free}"
        raise UserError(f"{does}: {advice(free.bytes / needed)}")


def needed_bytes(analysis: Any) -> int:
    """Return what a run takes on each device beside its arguments, by the compiler's own figures.

    Outputs that take the place of arguments take nothing more.
    """
    outputs = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return outputs + analysis.temp_size_in_bytes


def _least_free(devices: list[Any]) -> FreeMemory | None:
    """Return what is free on the fullest device; None where devices do not tell."""
    found = []
    for device in devices:
        figures = device.memory_stats()
        if figures and "bytes_limit" in figures:
            limit = figures["bytes_limit"]
            words = f"the {limit / GB:.1f} GB of {device.device_kind} {device.id}"
            found.append(FreeMemory(limit - figures.get("bytes_in_use", 0), words))
    return min(found, key=lambda free: free.bytes, default=None)
