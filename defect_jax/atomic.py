"""Text files that are either whole or not there."""

import os
import tempfile

from defect_jax.paths import AnyPath, as_path, is_remote, write_bytes


def write_text(path: AnyPath | str, text: str) -> None:
    """Writes a UTF-8 file in one move: a killed process leaves the old file or the new one.

    Parent folders are made. Line ends are written as they are on every system. In a bucket the move
    is one put.
    """
    path = as_path(path)
    if is_remote(path):
        write_bytes(path, text.encode("utf-8"))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with open(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o666 & ~_umask())  # mkstemp makes files that only the owner can read
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
