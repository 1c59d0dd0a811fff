"""Locks on folders: one process at a time writes, and the system takes the lock of a dead one back.

A lock is a small hidden file in the folder, held through `flock`. Nothing has to be cleaned up
after a kill: the file may stay, it is the holding that counts. In a bucket nothing can be locked.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import re
import socket
import stat
from collections.abc import Callable, Iterator

from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath, is_remote

UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # some network disks cannot lock
HOLDER = re.compile(r"\d{1,10} on [\w.-]{1,64}")


@contextlib.contextmanager
def refusing(path: AnyPath, advice: str) -> Iterator[None]:
    """Hold the lock `path`; where another process holds it, refuse at once.

    The folder is made where it is missing, and taken away again if it holds nothing at the end.

    Args:
        advice: what the user can do about it, for the end of the message.

    Raises:
        UserError: another process holds it, or it cannot be made.
    """

    def refuse(file: int) -> None:
        raise UserError(f"{path.parent}: {_holder(file)} writes there already; {advice}")

    with _held(path, refuse):
        yield


@contextlib.contextmanager
def waiting(path: AnyPath) -> Iterator[None]:
    """Hold the lock `path`; where another process holds it, say so and wait for it.

    Raises:
        UserError: it cannot be made.
    """

    def wait(file: int) -> None:
        say(f"waiting for {_holder(file)}, which writes into {path.parent}")
        fcntl.flock(file, fcntl.LOCK_EX)

    with _held(path, wait):
        yield


@contextlib.contextmanager
def _held(path: AnyPath, if_busy: Callable[[int], None]) -> Iterator[None]:
    if is_remote(path):
        yield
        return
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        file = _locked(path, if_busy)
    except OSError as error:
        _take_away(path, made)
        raise UserError(f"{path.parent}: cannot be written: {error.strerror}") from error
    except BaseException:
        _take_away(path, made)
        raise
    try:
        yield
    finally:
        _take_away(path, made)  # while we hold it
        os.close(file)


def _locked(path: pathlib.Path, if_busy: Callable[[int], None]) -> int:
    """Return the open file that holds the lock."""
    while True:
        try:
            file = _opened(path)
        except FileNotFoundError:  # the holder has just taken its folder away
            continue
        try:
            _lock(file, if_busy)
            if _is_still(file, path):
                os.ftruncate(file, 0)
                os.pwrite(file, f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its holder took the file away meanwhile: lock the new one


def _opened(path: pathlib.Path) -> int:
    """Open the file without emptying it; never through a link, which may lead anywhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"{path}: is a link and no lock of ours; remove it") from error
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise UserError(f"{path}: is no lock of ours; remove it")
    return file


def _lock(file: int, if_busy: Callable[[int], None]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if_busy(file)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def _is_still(file: int, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _holder(file: int) -> str:
    """Return which process holds a lock, in words."""
    found = HOLDER.match(os.pread(file, 100, 0).decode(errors="replace"))
    return f"another process ({found.group()})" if found else "another process"


def _take_away(path: pathlib.Path, made: list[pathlib.Path]) -> None:
    """Remove the folders that were made for the lock alone."""
    with contextlib.suppress(OSError):  # whatever somebody has put there stays
        if path.parent in made and [found.name for found in path.parent.iterdir()] == [path.name]:
            path.unlink()
        for folder in made:
            folder.rmdir()
