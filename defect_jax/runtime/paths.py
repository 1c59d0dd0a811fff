"""Paths that a user gives: on a disk, or in a bucket at gs:// or s3://."""

import contextlib
import errno
import importlib.util
import logging
import os
import pathlib
import re
from collections.abc import Iterator

from etils import epath

from defect_jax.runtime.errors import UserError

AnyPath = pathlib.Path | epath.Path  # on a disk | in a bucket

BACKENDS = {"gs": "gcsfs", "s3": "s3fs"}  # scheme: the package that epath needs for it
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)")


def as_path(text: str | AnyPath) -> AnyPath:
    """Return the path that a text names; a path is handed back. Nothing is read or contacted.

    This is the one place where `~` becomes the home folder: no shell does it behind the `=` of a
    flag. Never make a `pathlib.Path` of what may be in a bucket: it would be a folder named `gs:`.

    Raises:
        UserError: a scheme other than gs:// and s3://, no bucket, its package is not installed, or
            nobody has the home folder that `~` asks for.
    """
    if not isinstance(text, str):
        return text
    match = SCHEME.fullmatch(text)
    if match is None:
        return pathlib.Path(_with_home(text))
    scheme, rest = match.groups()
    if scheme not in BACKENDS:
        raise UserError(f"{text}: {scheme}:// is not known: give gs://…, s3://… or a local path")
    if not rest.partition("/")[0]:
        raise UserError(f"{text}: names no bucket")
    if importlib.util.find_spec(BACKENDS[scheme]) is None:
        raise UserError(
            f"{text}: {scheme}:// needs {BACKENDS[scheme]}: pip install 'defect_jax[cloud]', or "
            "start launch/local.sh with DEFECT_JAX_EXTRAS=cloud"
        )
    _set_up_client(scheme)
    return epath.Path(text.rstrip("/"))


def _with_home(text: str) -> str:
    home = text.partition("/")[0]
    if not home.startswith("~"):
        return text
    expanded = os.path.expanduser(text)
    # A file may have such a name, as those that an office program leaves beside open ones.
    if expanded == text and not os.path.lexists(text):
        raise UserError(f"{text}: there is no home folder {home}: write the whole path")
    return expanded


def _set_up_client(scheme: str) -> None:
    """Have fsspec ask the bucket each time: it would not see what others, as Orbax, wrote since.

    Its log is silent: it shows tracebacks of what is raised, and said, all the same.
    """
    import fsspec

    fsspec.config.conf.setdefault(scheme, {}).setdefault("use_listings_cache", False)
    logging.getLogger(BACKENDS[scheme]).setLevel(logging.CRITICAL)


def reached(text: str | AnyPath) -> AnyPath:
    """Return `as_path`, and ask a bucket for it once, so that a wrong key is not found out late.

    Raises:
        UserError: as `as_path`, or the bucket does not answer.
    """
    path = as_path(text)
    try:
        exists(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be reached: {error.strerror}") from error
    return path


def is_remote(path: AnyPath) -> bool:
    """Return whether it is in a bucket; Orbax gives an `epath.Path` for a disk too."""
    return not isinstance(path, pathlib.Path) and SCHEME.match(str(path)) is not None


def exists(path: AnyPath) -> bool:
    """Return whether there is a file or folder; what a bucket answers amiss is an OSError."""
    with os_errors(path):
        return path.exists()


def read_bytes(path: AnyPath) -> bytes:
    """Return the whole file; an OSError has a `strerror` wherever it is."""
    with os_errors(path):
        return path.read_bytes()


def read_text(path: AnyPath) -> str:
    """Return the whole file as UTF-8, with line ends as they are."""
    return read_bytes(path).decode("utf-8")


def write_bytes(path: AnyPath, data: bytes) -> None:
    """Write the whole file; in a bucket that is one put, so the old one is there until then."""
    try:
        with os_errors(path):
            path.write_bytes(data)
    except FileNotFoundError as error:
        if not is_remote(path):
            raise
        raise FileNotFoundError(errno.ENOENT, "no such bucket", str(path)) from error


@contextlib.contextmanager
def os_errors(path: AnyPath) -> Iterator[None]:
    """Turn what the clients of buckets raise into an OSError with a `strerror` of one line.

    Each has exceptions of its own, many without being an OSError, most without an errno.
    """
    if not is_remote(path):
        yield
        return
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "not there", str(path)) from error
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  see above
        lines = str(error).strip().splitlines()
        text = f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
        raise OSError(errno.EIO, text, str(path)) from error
