"""Raw data as the user has it: a folder, a plain .tar or a .zip, read and never written.

What is in a bucket is read by `bucket_files`.
"""

import hashlib
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from etils import epath
from ml_collections import ConfigDict

from defect_jax.data.files.bucket_files import BucketArchive, BucketFolder
from defect_jax.data.files.raw_names import usable
from defect_jax.runtime import buckets
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import as_path, is_remote

HEAD = 512  # bytes that tell an archive's kind


@runtime_checkable
class RawFiles(Protocol):
    """The files of a raw data set, by name: a path below the root with forward slashes."""

    def names(self) -> list[str]:
        """Return the names of all files, sorted, without hidden ones."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes; safe to call from several threads.

        Raises:
            OSError: the file is gone, may not be read, or is damaged inside its archive.
        """

    def stamp(self) -> str:
        """Return a text that changes when the raw files change."""

    def where(self, name: str) -> str:
        """Return the name of this file for a message, so that the user finds it."""


def open_root(root: str | None, field: str = "config.data.root") -> RawFiles:
    """Open the raw data under `config.data.root`, or what else a field or flag names.

    Raises:
        UserError: the root is not set, is not there, or is no folder, .tar or .zip; an archive is
            damaged or holds names that point outside of it.
    """
    if not root:
        raise UserError(f"{field}: not set: give the folder, .tar or .zip with the data")
    path = as_path(root)
    try:
        return _in_bucket(path, field) if is_remote(path) else _on_disk(path, field)
    except OSError as error:
        text = f"{field}: {path}: {error.strerror}: give the folder, .tar or .zip"
        raise UserError(text) from error


def open_data_root(data: ConfigDict) -> RawFiles:
    """Open what `config.data.root` names.

    Raises:
        UserError: as `open_root`.
    """
    return open_root(data.root)


def _on_disk(path: Path, field: str) -> RawFiles:
    if stat.S_ISDIR(path.stat().st_mode):
        return Folder(path)
    with path.open("rb") as file:
        kind = _archive_kind(path, file.read(HEAD), field)
    return kind(path)


def _in_bucket(path: epath.Path, field: str) -> RawFiles:
    facts = buckets.facts_of(path)
    if facts["type"] == "directory":
        return BucketFolder(path)
    return BucketArchive(path, facts, _archive_kind(path, buckets.read(path, 0, HEAD), field))


def _archive_kind(
    path: Path | epath.Path, start: bytes, field: str
) -> "type[TarArchive] | type[ZipArchive]":
    """Tell by the first bytes, not by the name."""
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ZipArchive
    if start[257:262] == b"ustar":
        return TarArchive
    raise UserError(
        f"{field}: {path} is no folder, no plain .tar and no .zip, or is damaged: "
        "unpack it and give the folder"
    )


class Folder:
    """A folder and everything below it."""

    def __init__(self, path: Path):
        self._path = path
        self._names = usable(_walk(path), path)

    def names(self) -> list[str]:
        return self._names

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()

    def stamp(self) -> str:
        digest = hashlib.sha256()
        for name in self._names:
            try:
                status = (self._path / name).stat()
            except OSError:  # a dangling link: reading it is what reports it
                continue
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def where(self, name: str) -> str:
        return str(self._path / name)


def _walk(path: Path) -> list[str]:
    def stop(error: OSError) -> None:
        # os.walk would otherwise leave out a folder that may not be read, and nobody would know.
        raise UserError(f"{error.filename}: {error.strerror}: make it readable")

    files = []
    for folder, folders, names in os.walk(path, onerror=stop, followlinks=True):
        folders[:] = [name for name in folders if not _leads_back(Path(folder, name))]
        files += [(Path(folder) / name).relative_to(path).as_posix() for name in names]
    return files


def _leads_back(folder: Path) -> bool:
    """Return True for a link to a folder above it, which would be walked for ever."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


class TarArchive:
    """An uncompressed tar file, indexed once and read by position."""

    def __init__(self, path: Path, called: str = ""):
        """Index it; `called` is its name in messages, where that is not `path`."""
        self._path, self._called = path, called or str(path)
        try:
            with tarfile.open(path, "r:") as archive:
                members = [m for m in archive if m.isreg() and not m.issparse()]
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise _damaged(self._called, error) from error
        _refuse_repeated([member.name for member in members], self._called)
        places = {_clean(m.name): (m.offset_data, m.size) for m in members}
        size = path.stat().st_size
        if any(start + length > size for start, length in places.values()):
            raise _damaged(self._called, "its end is missing")
        self._names = usable(places, self._called)
        self._places = places

    def names(self) -> list[str]:
        return self._names

    def read(self, name: str) -> bytes:
        start, length = self._places[name]
        with self._path.open("rb") as file:
            file.seek(start)
            data = file.read(length)
        if len(data) != length:
            raise OSError(f"the end of {self._called} is missing")
        return data

    def stamp(self) -> str:
        return _archive_stamp(self._path)

    def where(self, name: str) -> str:
        return f"{self._called}: {name}"


class ZipArchive:
    """A zip file, kept open; Python's reader shares it safely between threads."""

    def __init__(self, path: Path, called: str = ""):
        """Open it; `called` is its name in messages, where that is not `path`."""
        self._path, self._called = path, called or str(path)
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            raise _damaged(self._called, error) from error
        files = [info.filename for info in self._archive.infolist() if not info.is_dir()]
        _refuse_repeated(files, self._called)
        self._members = {_clean(name): name for name in files}
        self._names = usable(self._members, self._called)

    def names(self) -> list[str]:
        return self._names

    def read(self, name: str) -> bytes:
        try:
            return self._archive.read(self._members[name])
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise OSError(f"damaged inside the archive: {error}") from error
        except RuntimeError as error:  # the member is encrypted
            raise OSError(f"damaged inside the archive: {error}") from error

    def stamp(self) -> str:
        return _archive_stamp(self._path)

    def where(self, name: str) -> str:
        return f"{self._called}: {name}"


def _clean(name: str) -> str:
    return name.removeprefix("./")


def _refuse_repeated(names: list[str], path: str) -> None:
    seen = set()
    for name in map(_clean, names):
        if name in seen:
            raise UserError(f"{path}: {name} is in the archive twice: pack it again")
        seen.add(name)


def _damaged(path: str, reason: object) -> UserError:
    return UserError(f"{path} is damaged ({reason}): copy it again")


def _archive_stamp(path: Path) -> str:
    status = path.stat()
    return hashlib.sha256(f"{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()


def top_folder(names: Iterable[str], wanted: Iterable[str], root: str) -> str:
    """Find the leading folder that a download or an archive may put around a data set.

    >>> top_folder(["README.md", "release/train/1.png"], ["train", "test"], "root")
    'release/'

    Args:
        names: names of the files that matter.
        wanted: the folders that a data set begins with.
        root: what to call the data set in a message.

    Returns:
        What to cut off the names: nothing, or a folder with its slash.

    Raises:
        UserError: there are several such folders side by side.
    """
    wanted = frozenset(wanted)
    tops = set()
    for name in names:
        folders = name.split("/")[:-1]
        depth = next((i for i, folder in enumerate(folders) if folder in wanted), None)
        if depth is not None:
            tops.add("".join(f"{folder}/" for folder in folders[:depth]))
    if not tops:
        return ""
    highest = min(top.count("/") for top in tops)
    best = sorted(top for top in tops if top.count("/") == highest)
    if len(best) > 1:
        raise UserError(f"{root}: holds several data sets, {', '.join(best)}: give one of them")
    return best[0]
