"""Raw files in a plain .tar or in a .zip on a disk: listed once, and read one by one."""

import hashlib
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path

from defect_jax.data.files.archive_links import Damaged, Member, resolved
from defect_jax.data.files.bounded import MEGAPIXELS, BadFile, check_size, open_regular
from defect_jax.data.files.raw_names import Listed, listing
from defect_jax.data.files.tar_members import BLOCK, tar_members
from defect_jax.data.files.zip_members import read_member, zip_members
from defect_jax.data.files.zip_table import opened
from defect_jax.runtime.errors import UserError

ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
TAR_MAGIC = slice(257, 262)
# What users name .tar or give in its place, by its first bytes.
OTHER_STARTS = {
    b"\x1f\x8b": "compressed with gzip",
    b"\x1f\x9d": "compressed with compress",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\0": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\x04\x22\x4d\x18": "compressed with lz4",
    b"LZIP": "compressed with lzip",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"PK\x07\x08": "one part of a divided zip",
}
HEAD_BYTES = BLOCK  # that tell an archive's kind


class _Archive(Listed):
    """What both kinds share."""

    def __init__(self, path: Path, called: str, max_megapixels: float):
        self._path, self._called, self._max_megapixels = path, called or str(path), max_megapixels
        status = os.stat(path)
        self._state = (status.st_size, status.st_mtime_ns)

    def _list(self, members: Iterable[Member]) -> None:
        try:
            self._listing = listing(resolved(members, self._called), self._called)
        except Damaged as error:
            raise damaged(self._called, error) from error

    def stamp(self) -> str:
        size, changed_ns = self._state
        return hashlib.sha256(f"{size}\0{changed_ns}".encode()).hexdigest()

    def where(self, name: str) -> str:
        return f"{self._called}: {name}"


class TarArchive(_Archive):
    """An uncompressed tar file, read by position."""

    def __init__(self, path: Path, called: str = "", max_megapixels: float = MEGAPIXELS):
        """List it; `called` is its name in messages, where that is not `path`.

        Raises:
            UserError: it is damaged, or holds names that point outside of it.
        """
        super().__init__(path, called, max_megapixels)
        with open_regular(path) as file:
            self._list(tar_members(file))

    def read(self, name: str) -> bytes:
        start, size_bytes = self._place(name)
        check_size(name, size_bytes, self._max_megapixels)
        with open_regular(self._path) as file:
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != self._state:
                raise BadFile("is in an archive that has changed since: start again")
            file.seek(start)
            return file.read(size_bytes)

    def size(self, name: str) -> int:
        return self._place(name).size_bytes


class ZipArchive(_Archive):
    """A zip file, kept open; Python's reader shares it safely between threads."""

    def __init__(self, path: Path, called: str = "", max_megapixels: float = MEGAPIXELS):
        """List it, as `TarArchive`."""
        super().__init__(path, called, max_megapixels)
        try:
            self._archive = opened(path)
        except Damaged as error:
            raise damaged(self._called, error) from error
        self._list(zip_members(self._archive))

    def read(self, name: str) -> bytes:
        info = self._place(name)
        check_size(name, info.file_size, self._max_megapixels)
        return read_member(self._archive, info)

    def size(self, name: str) -> int:
        return self._place(name).file_size


def archive_kind(start: bytes) -> type[TarArchive] | type[ZipArchive] | None:
    """Tell by the first `HEAD_BYTES`, and not by the name; None for what is neither."""
    if start.startswith(ZIP_STARTS):
        return ZipArchive
    return TarArchive if start[TAR_MAGIC] == b"ustar" or _is_old_tar(start) else None


def _is_old_tar(start: bytes) -> bool:
    """Return whether it is the header of a tar from before there was a magic, by its checksum."""
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError, OverflowError, IndexError):
        return False
    return True


def other_kind(start: bytes) -> str:
    """Say what the file is, for the message that it is not read."""
    kinds = (kind for magic, kind in OTHER_STARTS.items() if start.startswith(magic))
    kind = next(kinds, None)
    return (
        "is no folder, no plain .tar and no .zip, or is damaged"
        if kind is None
        else (f"is {kind}, no folder, no plain .tar and no .zip")
    )


def damaged(path: str, reason: object) -> UserError:
    return UserError(f"{path} is damaged ({reason}): copy it again")
