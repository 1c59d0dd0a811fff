"""A folder to write into, beside the one whose place it takes once it is whole.

Each process has a name of its own for it, and holds it locked while it lives. So two that write the
same result do not touch each other's files, and the next one can tell what a killed one has left.
"""

import contextlib
import fcntl
import glob
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from defect_jax.runtime.atomic_files import umask

SUFFIX = ".partial"
RANDOM = "????????"  # what mkdtemp puts into a name


@contextlib.contextmanager
def beside(final: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield an empty folder on the disk of `final`; what is still there at the end is removed.

    Raises:
        OSError: it cannot be made.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    _clear_remains(final)
    folder, lock = _made_and_locked(final)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def take_place(folder: pathlib.Path, final: pathlib.Path) -> None:
    """Put a folder of `beside` in place of `final` in two renames, and delete what that held.

    Raises:
        OSError: it cannot be done; `final` is as it was.
    """
    aside = _made(final)
    try:
        if final.exists():
            final.rename(aside)
        try:
            folder.rename(final)
        except OSError:
            aside.rename(final)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _made(final: pathlib.Path) -> pathlib.Path:
    name = tempfile.mkdtemp(prefix=f".{final.name}.", suffix=SUFFIX, dir=final.parent)
    return pathlib.Path(name)


def _made_and_locked(final: pathlib.Path) -> tuple[pathlib.Path, int]:
    """Make a folder and lock it, anew where another process took it for a remain in between."""
    while True:
        folder = _made(final)
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            if _is_ours(lock) and folder.exists():
                os.chmod(folder, 0o777 & ~umask())  # mkdtemp makes folders for the owner alone
                return folder, lock
            os.close(lock)


def _is_ours(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network disk that locks no folders: there, nobody clears anything away
        return True
    return True


def _clear_remains(final: pathlib.Path) -> None:
    """Remove what killed processes have left: folders that nobody holds."""
    for remains in final.parent.glob(f".{glob.escape(final.name)}.{RANDOM}{SUFFIX}"):
        with contextlib.suppress(OSError):  # held, or no folder
            lock = os.open(remains, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(remains)
            finally:
                os.close(lock)
