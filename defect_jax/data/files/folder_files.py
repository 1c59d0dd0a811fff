"""Raw files in a folder of a disk, and in everything below it."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from defect_jax.data.files.bounded import MEGAPIXELS, read_regular
from defect_jax.data.files.raw_names import Listed, Refused, is_machine, listing
from defect_jax.runtime.errors import UserError

MOST_COUNTED = 100_000  # files of a system that are counted; a snapshot may hold many millions
MOST_BY_LINKS = 1_000_000  # what links to folders lead to; a few links can lead to very many


class Folder(Listed):
    """A folder and everything below it; links are followed, outside of it, too."""

    def __init__(self, path: Path, max_megapixels: float = MEGAPIXELS):
        self._path, self._max_megapixels = path, max_megapixels
        self._listing = listing(_Walk(path), path)

    def read(self, name: str) -> bytes:
        return read_regular(self._path / self._place(name), name, self._max_megapixels)

    def size(self, name: str) -> int:
        return (self._path / self._place(name)).stat().st_size

    def stamp(self) -> str:
        digest = hashlib.sha256()
        for name, place in self._listing.files.items():
            digest.update(f"{name}\0{self._state(place)}\n".encode())
        return digest.hexdigest()

    def _state(self, place: str | Refused) -> str:
        if isinstance(place, Refused):
            return place.why
        try:
            status = (self._path / place).stat()
        except OSError as error:  # reading it is what reports it
            return str(error.errno)
        return f"{status.st_size}\0{status.st_mtime_ns}"

    def where(self, name: str) -> str:
        place = self._listing.files.get(name, name)
        return str(self._path / (name if isinstance(place, Refused) else place))


class _Walk:
    """Yields the files below a folder: the path below it, and that path or why it is refused."""

    def __init__(self, root: Path):
        self._root, self._counted, self._by_links = str(root), 0, 0

    def __iter__(self) -> Iterator[tuple[str, str | Refused]]:
        todo = [("", False)]  # folders below the root, and whether a link led there
        while todo:
            folder, by_link = todo.pop()
            for entry in _entries(os.path.join(self._root, folder)):
                below = f"{folder}/{entry.name}" if folder else entry.name
                self._count(by_link)
                if is_machine(entry.name):
                    yield from self._machine_files(entry, below)
                elif _is_folder(entry):
                    if not entry.is_symlink():
                        todo.append((below, by_link))
                    elif not self._leads_back(entry.path):
                        todo.append((below, True))
                else:
                    yield below, _refused_link(entry) or below

    def _machine_files(self, entry: os.DirEntry, below: str) -> Iterator[tuple[str, str]]:
        """Yield what is skipped, to be counted; no link is followed and no fault is one."""
        if not entry.is_dir(follow_symlinks=False):
            yield below, below
            return
        for _, _, names in os.walk(entry.path):
            for name in names:
                self._counted += 1
                if self._counted > MOST_COUNTED:
                    return
                yield f"{below}/{name}", below

    def _leads_back(self, link: str) -> bool:
        """Return whether a folder above the link, as it was walked, is in what it names.

        It would be walked for ever; that of a link to a link is asked for, too.
        """
        target, folder = os.path.realpath(link), os.path.dirname(link)
        while not Path(os.path.realpath(folder)).is_relative_to(target):
            if folder in (self._root, os.path.dirname(folder)):
                return False
            folder = os.path.dirname(folder)
        return True

    def _count(self, by_link: bool) -> None:
        self._by_links += by_link
        if self._by_links > MOST_BY_LINKS:
            raise UserError(
                f"{self._root}: its links to folders lead to more than {MOST_BY_LINKS:,} files: "
                "remove those that lead to the same place"
            )


def _entries(folder: str) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        # Its files would otherwise be left out, and nobody would know.
        raise UserError(f"{folder}: {error.strerror}: make it readable") from error


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or to where nobody may look
        return False


def _refused_link(entry: os.DirEntry) -> Refused | None:
    """Refuse a link to nowhere, which may have led to a folder of images or of masks."""
    if not entry.is_symlink() or os.path.exists(entry.path):
        return None
    target = os.readlink(entry.path)
    return Refused(f"is a link to {target!r}, which cannot be followed: mend or remove it", True)
