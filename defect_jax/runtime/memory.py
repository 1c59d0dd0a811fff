"""How much memory this process may still take, and what limits it."""

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

CGROUPS_OF_PROCESS = Path("/proc/self/cgroup")
MOUNTED = Path("/sys/fs/cgroup")
GB = 10**9
LARGE_BYTES = 64 * 2**20
OPENCV_SHORTAGE = "Insufficient memory"


class FreeMemory(NamedTuple):
    """What may still be taken, and by whose leave."""

    bytes: int
    limit: str  # what ends it, as words of a sentence

    def __str__(self) -> str:
        return f"{self.bytes / GB:.1f} GB free within {self.limit}"


def free_bytes() -> FreeMemory:
    """Return the memory that is free, by the limit that is reached first.

    What the system has is not all that counts: a container, a batch system or a service is held
    by a control group, whose limit ends a process with no word, and a shell by `ulimit -v`.
    """
    return min((_of_machine(), *_of_cgroups(), *_of_process()), key=lambda free: free.bytes)


class TooLittleMemory(MemoryError):
    """What is asked for is not there; the message says so without a name before it."""


def check_free(needed_bytes: int) -> None:
    """Say that memory is short before it is taken: the system ends a process with no word.

    Small amounts are not looked at, as looking takes time.

    Raises:
        TooLittleMemory: with how much is needed, how much is free, and within which limit.
    """
    if needed_bytes <= LARGE_BYTES:
        return
    free = free_bytes()
    if needed_bytes > free.bytes:
        raise TooLittleMemory(
            f"needs {needed_bytes / GB:.1f} GB of memory, and there are {free}: make it smaller, "
            "or raise the limit"
        )


def shortage(error: BaseException) -> str | None:
    """Return what to say of a file where `error` came of too little memory; None of others.

    Decoders hide it in errors of their own.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TooLittleMemory):
            return str(cause)
        if isinstance(cause, MemoryError) or OPENCV_SHORTAGE in str(cause):
            return f"needs more memory than there is ({free_bytes()}): make it smaller"
        cause = cause.__cause__
    return None


def _of_machine() -> FreeMemory:
    memory = psutil.virtual_memory()
    return FreeMemory(memory.available, f"the {memory.total / GB:.1f} GB of this machine")


def _of_process() -> Iterator[FreeMemory]:
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        left = max(0, most - psutil.Process().memory_info().vms)
        yield FreeMemory(left, f"the {most / GB:.1f} GB of `ulimit -v`")


def _of_cgroups() -> Iterator[FreeMemory]:
    """Yield what each control group leaves that this process is in, and the groups above them."""
    for folder, names in _cgroup_folders():
        numbers = [_number(folder / name) for name in names[:2]]
        if None not in numbers:
            most, used = numbers
            left = max(0, most - used + _reclaimable(folder / "memory.stat", names[2]))
            words = f"the {most / GB:.1f} GB of the cgroup limit {folder / names[0]}"
            yield FreeMemory(left, words)


def _cgroup_folders() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Yield folders with the names of limit, use, and what of it can be dropped: version 2 and 1.

    A container sees its own group as the root, but the list may hold its name on the host.
    """
    second = ("memory.max", "memory.current", "inactive_file")
    first = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    try:
        lines = CGROUPS_OF_PROCESS.read_text().splitlines()
    except OSError:
        return  # another system than Linux
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        names = first if "memory" in controllers.split(",") else second
        if controllers and names is second:
            continue  # a group of version 1 that holds no memory
        top = MOUNTED / "memory" if names is first else MOUNTED
        folder = top / group.lstrip("/")
        yield from ((above, names) for above in (folder, *folder.parents) if _within(above, top))


def _within(folder: Path, top: Path) -> bool:
    return ".." not in folder.parts and folder.is_relative_to(top)


def _number(file: Path) -> int | None:
    """Return the number in a file; None where there is none, as in "max"."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _reclaimable(file: Path, key: str) -> int:
    """Return the bytes of cached files, which count as used but are dropped when memory is short.

    Without them, a preparation that has just read a large data set would find nothing free.
    """
    try:
        fields = dict(line.split(" ", 1) for line in file.read_text().splitlines())
        return int(fields[key])
    except (OSError, ValueError, KeyError):
        return 0
