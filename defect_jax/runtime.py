"""What must be set before the first JAX computation: the compilation cache."""

import os
import pathlib

import jax
from ml_collections import ConfigDict

from defect_jax.errors import UserError
from defect_jax.paths import as_path, is_remote


def start(config: ConfigDict) -> None:
    """Switches on the compilation cache where `config.compilation_cache` names a folder."""
    if config.compilation_cache:
        folder = as_path(config.compilation_cache)
        if is_remote(folder):
            raise UserError(f"config.compilation_cache {folder}: must be a folder of this machine")
        cache_compilations(pathlib.Path(folder).expanduser())


def cache_compilations(folder: pathlib.Path) -> None:
    """Keeps compiled programs in `folder` for the next start.

    Whoever can write there can run code as this user, so it is closed to all others, and the cache
    is off unless asked for.

    Raises:
        UserError: the folder cannot be made, belongs to somebody else or is open to others.
    """
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise UserError(f"config.compilation_cache {folder}: {error.strerror}") from error
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise UserError(
            f"config.compilation_cache {folder}: must be yours alone (chmod 700), because "
            "whoever writes there runs code as you"
        )
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
