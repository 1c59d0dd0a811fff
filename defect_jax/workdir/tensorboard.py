"""TensorBoard's event files, on a disk or in a bucket.

tensorboardX has writers of its own for gs:// and s3://. They need boto3, which s3fs does not bring,
and an error of theirs ends the thread that writes, after which the next scalars wait for ever. So
it is given a writer that puts the file through the same clients as everything else. On a disk an
error would end that thread too, and be told by it again after the end of the program.
"""

import contextlib
import io
import pathlib
from collections.abc import Iterator
from typing import Any

from tensorboardX import SummaryWriter
from tensorboardX.record_writer import register_writer_factory

from defect_jax.runtime.console import say
from defect_jax.runtime.paths import AnyPath, as_path, is_remote, write_bytes

DISK = "disk"  # the scheme by which tensorboardX finds our writer for local files


def open_tensorboard(folder: AnyPath, purge_step: int) -> SummaryWriter:
    """Open a board; in a bucket its file is put anew every two minutes, on `flush` and at the end.

    Args:
        purge_step: what an earlier run wrote from this step on is not shown.
    """
    for scheme in ("gs", "s3"):
        register_writer_factory(scheme, _InBucket())
    register_writer_factory(DISK, _OnDisk())
    where = str(folder) if is_remote(folder) else f"{DISK}:{folder}"
    return SummaryWriter(where, purge_step=purge_step)


class _OnDisk:
    """What tensorboardX asks for files of a disk."""

    def open(self, path: str) -> "_DiskFile":
        return _DiskFile(pathlib.Path(path.removeprefix(f"{DISK}:")))

    def directory_check(self, path: str) -> None:
        pathlib.Path(path.removeprefix(f"{DISK}:")).mkdir(parents=True, exist_ok=True)


class _DiskFile:
    """A file that grows until it cannot be written; the numbers are in metrics.jsonl too."""

    def __init__(self, path: pathlib.Path):
        self._path, self._file = path, path.open("wb")

    def write(self, data: bytes) -> None:
        if not self._file.closed:
            with self._ending():
                self._file.write(data)

    def flush(self) -> None:
        if not self._file.closed:
            with self._ending():
                self._file.flush()

    def close(self) -> None:
        if not self._file.closed:
            with self._ending():
                self._file.close()

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            say(f"{self._path}: cannot be written any more ({error.strerror})")
            with contextlib.suppress(OSError):  # it tries once more, and is closed after that
                self._file.close()


class _InBucket:
    """What tensorboardX asks for files of a scheme."""

    def open(self, path: str) -> "_EventFile":
        return _EventFile(as_path(path))

    def directory_check(self, path: str) -> None:
        """Do nothing: a bucket has no folders to make."""


class _EventFile:
    """A file held in memory and put whole; its size is that of a run's scalars, a few MB."""

    def __init__(self, path: AnyPath):
        self._path, self._data, self._failed = path, io.BytesIO(), False

    def write(self, data: bytes) -> Any:
        return self._data.write(data)

    def flush(self) -> None:
        """Put the file; a failure is said once, not raised: the next flush may succeed."""
        try:
            write_bytes(self._path, self._data.getvalue())
            self._failed = False
        except OSError as error:
            if not self._failed:
                say(f"{self._path}: cannot be written ({error.strerror}); trying again later")
            self._failed = True

    def close(self) -> None:
        self.flush()
