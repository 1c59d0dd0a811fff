"""A folder that appears whole or not at all, and never in place of something else."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from defect_jax.runtime.errors import UserError


@contextmanager
def written_whole(folder: Path, field: str) -> Iterator[Path]:
    """Yields a folder beside `folder` to write into, which takes its place in the end.

    Raises:
        UserError: `folder` holds anything, or cannot be written; `field` is named.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"{field}: {folder} is not empty: name a new folder")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except OSError as error:
        raise UserError(f"{field}: {folder} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
