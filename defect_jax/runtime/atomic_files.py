"""Files that are either whole or not there, and files that grow by whole lines."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator

from defect_jax.runtime import paths
from defect_jax.runtime.paths import AnyPath, as_path, is_remote


def write_text(path: AnyPath | str, text: str) -> None:
    """Write a UTF-8 file as `write_bytes` does; line ends are as they are on every system."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: AnyPath | str, data: bytes) -> None:
    """Write a file in one move: a killed process leaves the old file or the new one.

    Parent folders are made. In a bucket the move is one put.
    """
    path = as_path(path)
    if is_remote(path):
        paths.write_bytes(path, data)
        return
    with _named_errors(path):
        _write_whole(path, data)


def _write_whole(path: pathlib.Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o666 & ~umask())  # mkstemp makes files that only the owner can read
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


@contextlib.contextmanager
def _named_errors(path: AnyPath) -> Iterator[None]:
    """Have an OSError name the file: one of `write`, as of a full disk, names nothing."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def umask() -> int:
    """Return the permissions that new files of this process are not given."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


class LineFile:
    """Starts with the lines to keep, in place of what was there; then grows.

    On a disk a line is there as soon as it is written, and safe from a power cut after `sync`. An
    object in a bucket is only ever written whole: there `sync` puts all lines anew, and what came
    after the last one is lost in a kill. So call `sync` before what relies on the lines, such as a
    checkpoint, and not at every line.
    """

    def __init__(self, path: AnyPath, kept_lines: Iterable[str] = ()):
        """Write the kept lines at once, whole or not at all; lines are without their ends."""
        self._path = path
        self._lines = [f"{line}\n" for line in kept_lines]  # used in a bucket alone from here on
        self._synced = len(self._lines)
        write_text(path, "".join(self._lines))
        self._file = None if is_remote(path) else path.open("a", encoding="utf-8", newline="")

    def write(self, line: str) -> None:
        """Add one line."""
        if self._file is None:
            self._lines.append(f"{line}\n")
        else:
            with _named_errors(self._path):
                self._file.write(f"{line}\n")
                self._file.flush()

    def sync(self) -> None:
        """Make sure that all lines so far outlive this process, and this machine's power."""
        if self._file is not None:
            with _named_errors(self._path):
                self._file.flush()
                os.fsync(self._file.fileno())
        elif len(self._lines) > self._synced:
            write_text(self._path, "".join(self._lines))
            self._synced = len(self._lines)

    def close(self) -> None:
        """Sync and let go of the file; a second call does nothing more."""
        if self._file is None:
            self.sync()
        elif not self._file.closed:
            self.sync()
            self._file.close()
