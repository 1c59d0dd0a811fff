"""Local folders for what is on its way to or from a bucket; gone at the end of the program."""

import atexit
import functools
import pathlib
import shutil
import tempfile


def new_folder(purpose: str) -> pathlib.Path:
    """Make an empty folder of this process below $TMPDIR; after a SIGKILL it stays there."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"defect_jax-{purpose}-"))
    _folders().append(folder)
    return folder


def clear() -> None:
    """Remove all of them; to be called where a program ends without its exit handlers."""
    while _folders():
        shutil.rmtree(_folders().pop(), ignore_errors=True)


@functools.cache
def _folders() -> list[pathlib.Path]:
    atexit.register(clear)
    return []
