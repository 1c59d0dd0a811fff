"""Reading no more than can be meant: regular files alone, and none beyond a number of bytes.

What is read may come from somebody else, or from a broken disk: a FIFO waits for ever, /dev/zero
never ends, and a file with holes takes no room on a disk but all of the memory.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from defect_jax.data.files.images import SUFFIXES
from defect_jax.runtime import memory

MEGAPIXELS = 100.0  # as in configs/base.py, where nothing else is said
WIDEST_PIXEL_BYTES = 8  # red, green, blue and transparency of 16 bits
SLACK_BYTES = 16 * 2**20  # for headers, colour profiles, previews
TEXT_BYTES = 256 * 2**20  # tables and labels; those of labelme hold their picture once more

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link",
}


class BadFile(OSError):
    """A file that is refused; the message says why and what to do, without the file's name."""


def is_picture(name: str) -> bool:
    """Return whether a name has the suffix of an image or a mask."""
    return name.lower().endswith(SUFFIXES)


def check_size(name: str, size_bytes: int, max_megapixels: float) -> None:
    """Refuse what is too large, before it is read.

    Args:
        max_megapixels: `config.data.max_megapixels`; no picture takes more than its pixels do.

    Raises:
        BadFile: it is larger than a picture, or another file, can be.
        MemoryError: there is less memory than it takes.
    """
    if is_picture(name):
        most = int(max_megapixels * 1e6) * WIDEST_PIXEL_BYTES + SLACK_BYTES
        hint = (
            f"that {max_megapixels:g} megapixels can take: make it smaller, or raise "
            "config.data.max_megapixels if you trust it"
        )
    else:
        most, hint = TEXT_BYTES, "that a table or label may take: give the right file"
    if size_bytes > most:
        raise BadFile(f"is {_amount(size_bytes)}, more than the {_amount(most)} {hint}")
    memory.check_free(size_bytes)


def _amount(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.1f} MB"


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read it; see `regular_handle`."""
    return os.fdopen(regular_handle(path), "rb")


def regular_handle(path: Path) -> int:
    """Open a regular file, or a link to one, and never wait for it.

    Raises:
        BadFile: it is anything else.
        OSError: it is not there, or may not be read.
    """
    _refuse_other_kinds(os.stat(path).st_mode)  # opening a device may already move its tape
    # It may have become another file since: a FIFO would wait for a writer without O_NONBLOCK.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _refuse_other_kinds(os.fstat(handle).st_mode)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _refuse_other_kinds(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise BadFile(f"is {kind_of(mode)}, not a regular file: remove it")


def kind_of(mode: int) -> str:
    """Return what the bits of a file's kind stand for, with its article."""
    return KINDS.get(stat.S_IFMT(mode), "of an unknown kind")


def read_regular(path: Path, name: str, max_megapixels: float) -> bytes:
    """Read the whole of a regular file.

    Args:
        name: decides how large it may be; see `check_size`.

    Raises:
        OSError: as `open_regular`, and `check_size`; or it changes while it is read.
        MemoryError: there is less memory than it takes.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        check_size(name, size, max_megapixels)
        data = file.read(size + 1)
    if len(data) != size:
        raise BadFile("changes while it is read: wait until it is written, and start again")
    return data
