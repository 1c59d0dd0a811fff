"""The input of --mode=import: its files by name, its texts within limits, nothing else."""

from typing import Any, NamedTuple
from xml.etree import ElementTree

from defect_jax.data.files.bounded import MEGAPIXELS, is_picture
from defect_jax.data.files.raw_files import RawFiles, open_root
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.json_files import NotJson, parse
from defect_jax.runtime.memory import shortage
from defect_jax.runtime.paths import as_path, is_remote

FIELD = "--input"
TEXTS = (".json", ".xml", ".csv", ".yaml", ".yml")
BESIDE_IMAGES = ("annotations", "labels")  # folders that lie beside that of the images
MOST_LOOKED_AT = 8  # files of a kind that are read to recognise a format
DECLARES = ("<!DOCTYPE", "<!ENTITY")


class Opened(NamedTuple):
    """Files that are read and never written.

    Attributes:
        raw: all of them.
        only: the annotation's file, where the user named one; then no other is read.
        max_megapixels: what a picture may have.
    """

    raw: RawFiles
    only: str = ""
    max_megapixels: float = MEGAPIXELS

    def pictures(self) -> list[str]:
        """Return the names of all images, and of masks."""
        return [name for name in self.raw.names() if is_picture(name)]

    def texts(self, *suffixes: str) -> list[str]:
        """Return the names of the files that may hold annotations."""
        names = [self.only] if self.only else self.raw.names()
        return [name for name in names if name.lower().endswith(suffixes)]

    def where(self, name: str) -> str:
        """Return the name of a file for a message."""
        return self.raw.where(name)

    def read_bytes(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            UserError: it cannot be read, or is too large.
        """
        try:
            return self.raw.read(name)
        except OSError as error:
            what = shortage(error) or error.strerror or error
            raise UserError(f"{self.where(name)}: cannot be read: {what}") from error

    def read_text(self, name: str) -> str:
        """Return a file's text.

        Raises:
            UserError: it cannot be read, or is not UTF-8.
        """
        try:
            return self.read_bytes(name).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UserError(f"{self.where(name)}: is not UTF-8: save it as such") from None

    def read_json(self, name: str) -> Any:
        """Return what a JSON file holds.

        Raises:
            UserError: it cannot be read, or is not JSON within the limits.
        """
        try:
            return parse(self.read_text(name))
        except NotJson as error:
            raise UserError(f"{self.where(name)}: {error}: export it again") from None

    def read_xml(self, name: str) -> ElementTree.Element:
        """Return the root of an XML file.

        Without a document type there are no entities, which could name files or grow for ever.

        Raises:
            UserError: it cannot be read, is not XML, or declares a document type.
        """
        text = self.read_text(name)
        if any(word in text for word in DECLARES):
            raise UserError(f"{self.where(name)}: declares a document type: export it again")
        try:
            return ElementTree.fromstring(text)
        except (ElementTree.ParseError, ValueError) as error:
            raise UserError(f"{self.where(name)}: is not XML ({error}): export it again") from None

    def looked_at(self, *suffixes: str) -> list[tuple[str, bytes]]:
        """Return the first files of a kind with their bytes; those that cannot be read are none."""
        found = []
        for name in self.texts(*suffixes)[:MOST_LOOKED_AT]:
            try:
                found.append((name, self.raw.read(name)))
            except OSError:
                continue
        return found


def open_input(path: str, max_megapixels: float = MEGAPIXELS) -> Opened:
    """Open a folder, a .tar, a .zip, or a file of annotations with the folder that it lies in.

    Where that folder is called annotations/ or labels/, the one above it is meant.

    Raises:
        UserError: there is no such path, or it is none of these.
    """
    given = as_path(path)
    if is_remote(given) or not given.is_file() or given.suffix.lower() not in TEXTS:
        return Opened(open_root(path, FIELD, max_megapixels), "", max_megapixels)
    given = given.absolute()
    root = given.parent
    if root.name.lower() in BESIDE_IMAGES and root.parent != root:
        root = root.parent
    raw = open_root(str(root), FIELD, max_megapixels)
    written = given.relative_to(root).as_posix()
    same = [name for name in raw.names() if raw.where(name) == str(given) or name == written]
    if not same:
        raise UserError(f"{FIELD}: {path} is hidden, or its name is a system's: rename it")
    return Opened(raw, same[0], max_megapixels)
