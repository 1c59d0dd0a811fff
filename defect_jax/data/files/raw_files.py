"""Raw data as the user has it: a folder, a plain .tar or a .zip, read and never written.

Folders are read by `folder_files`, archives by `archives`, what is in a bucket by `bucket_files`.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from etils import epath
from ml_collections import ConfigDict

from defect_jax.data.files.archives import (
    HEAD_BYTES,
    TarArchive,
    ZipArchive,
    archive_kind,
    other_kind,
)
from defect_jax.data.files.bounded import MEGAPIXELS, open_regular
from defect_jax.data.files.bucket_files import BucketArchive, BucketFolder
from defect_jax.data.files.folder_files import Folder
from defect_jax.runtime import buckets
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.memory import shortage
from defect_jax.runtime.paths import as_path, is_remote


@runtime_checkable
class RawFiles(Protocol):
    """The files of a raw data set, by name: a path below the root with forward slashes."""

    def names(self) -> list[str]:
        """Return the names of all files, sorted, without hidden ones."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes; safe to call from several threads.

        Raises:
            OSError: the file is gone, may not be read, is no regular file, is damaged inside its
                archive, or is larger than it may be or than memory is left.
        """

    def size(self, name: str) -> int:
        """Return how many bytes a file holds.

        Raises:
            OSError: the file is gone, or is refused.
        """

    def stamp(self) -> str:
        """Return a text that changes when the raw files change."""

    def where(self, name: str) -> str:
        """Return the name of this file for a message, so that the user finds it."""

    def skipped(self) -> Mapping[str, int]:
        """Return how many files were left out for each hidden folder or file of the system."""

    def lost(self) -> Mapping[str, str]:
        """Return what may have held images and is not among the names, each with why it is not."""


def open_root(
    root: str | None, field: str = "config.data.root", max_megapixels: float = MEGAPIXELS
) -> RawFiles:
    """Open the raw data under `config.data.root`, or what else a field or flag names.

    Args:
        max_megapixels: `config.data.max_megapixels`; a file that is larger than such an image can
            be is not read.

    Raises:
        UserError: the root is not set, is not there, or is no folder, .tar or .zip; an archive is
            damaged or holds names that point outside of it.
    """
    if not root:
        raise UserError(f"{field}: not set: give the folder, .tar or .zip with the data")
    path = as_path(root)
    try:
        if is_remote(path):
            return _in_bucket(path, field, max_megapixels)
        return _on_disk(path, field, max_megapixels)
    except (OSError, MemoryError) as error:
        reason = shortage(error) or getattr(error, "strerror", None) or str(error)
        text = f"{field}: {path}: {reason}: give the folder, .tar or .zip"
        raise UserError(text) from error


def open_data_root(data: ConfigDict) -> RawFiles:
    """Open what `config.data.root` names.

    Raises:
        UserError: as `open_root`.
    """
    return open_root(data.root, max_megapixels=data.get("max_megapixels", MEGAPIXELS))


def _on_disk(path: Path, field: str, max_megapixels: float) -> RawFiles:
    if path.is_dir():
        return Folder(path, max_megapixels)
    with open_regular(path) as file:
        kind = _kind(path, file.read(HEAD_BYTES), field)
    return kind(path, max_megapixels=max_megapixels)


def _in_bucket(path: epath.Path, field: str, max_megapixels: float) -> RawFiles:
    facts = buckets.facts_of(path)
    if facts["type"] == "directory":
        return BucketFolder(path, max_megapixels)
    kind = _kind(path, buckets.read(path, 0, HEAD_BYTES), field)
    return BucketArchive(path, facts, partial(kind, max_megapixels=max_megapixels))


def _kind(path: Path | epath.Path, start: bytes, field: str) -> type[TarArchive] | type[ZipArchive]:
    kind = archive_kind(start)
    if kind is None:
        raise UserError(f"{field}: {path} {other_kind(start)}: unpack it and give the folder")
    return kind


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
