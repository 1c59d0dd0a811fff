"""TensorBoard's event files, on a disk or in a bucket.

tensorboardX has writers of its own for gs:// and s3://. They need boto3, which s3fs does not bring,
and an error of theirs ends the thread that writes, after which the next scalars wait for ever. So
it is given a writer that puts the file through the same clients as everything else.
"""

import io
from typing import Any

from tensorboardX import SummaryWriter
from tensorboardX.record_writer import register_writer_factory

from defect_jax.runtime.console import say
from defect_jax.runtime.paths import AnyPath, as_path, is_remote, write_bytes


def open_tensorboard(folder: AnyPath, purge_step: int) -> SummaryWriter:
    """Open a board; in a bucket its file is put anew every two minutes, on `flush` and at the end.

    Args:
        purge_step: what an earlier run wrote from this step on is not shown.
    """
    if is_remote(folder):
        for scheme in ("gs", "s3"):
            register_writer_factory(scheme, _Factory())
    return SummaryWriter(str(folder), purge_step=purge_step)


class _Factory:
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
