"""Names of raw files: which of them count, which are left out, and that none stands for two."""

import abc
import errno
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from defect_jax.data.files.bounded import BadFile, is_picture
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.escapes import strange
from defect_jax.runtime.memory import shortage

# What systems, disks and NAS boxes keep beside the files of their users: thumbnails, waste baskets,
# snapshots. They hold pictures, too, and nothing tells them from the user's own. In lower case.
MACHINE_NAMES = frozenset(
    """
    @eadir @eastream @tmp @recycle @recently-snapshot @snapshot @sharesnap @sharebin @__thumb
    #recycle #snapshot ~snapshot $recycle.bin recycler recycled _gsdata_ lost+found lost.dir
    trashbox @appstore @appdata _vti_cnf found.000 thevolumesettingsfolder
    __macosx __pycache__ thumbs.db ehthumbs.db ehthumbs_vista.db desktop.ini picasa.ini
    """.split()
) | {
    "system volume information",
    "network trash folder",
    "temporary items",
    "recycle bin",
    "icon\r",
}
MACHINE_ENDINGS = ("@synoeastream", "@synoresource", ":zone.identifier", ":encryptable")
APPLE_DOUBLE = "._"
MOST_CHARACTERS, MOST_FOLDERS = 1024, 64  # of a path; a hostile one could have a million
UNREADABLE = "\N{REPLACEMENT CHARACTER}"
NAMELESS = "(a file without a name)"


class Refused(NamedTuple):
    """Takes the place of a file that is there but is not read."""

    why: str  # and what to do
    hides: bool = False  # it may stand for a whole folder, whose files are then missing


class Listing(NamedTuple):
    """The files of a raw data set."""

    files: dict[str, Any]  # name -> where its bytes are, or `Refused`; sorted by name
    lost: dict[str, str]  # name -> why, of what may have held pictures
    skipped: Counter[str]  # name of the system's folder or file -> files left out for it


def listing(found: Iterable[tuple[str, Any]], root: object) -> Listing:
    """List files under their plain names: one form of Unicode, no `./` and no `//`.

    Two files that would have one name are both refused.

    Args:
        found: names and where their bytes are, or `Refused`.
        root: named in messages.

    Raises:
        UserError: a name points outside the root.
    """
    files, called, skipped = {}, {}, Counter()
    for raw, place in found:
        if machine := machine_part(raw):
            skipped[machine] += 1
            continue
        name = plain(raw, root)
        if not name:
            name, place = NAMELESS, Refused("has no name: pack it again", hides=True)
        elif _written(name) != name:
            name, place = (
                _written(name),
                Refused("has characters that cannot be written: rename it"),
            )
        if name in files:
            hides = _hides(place) or _hides(files[name])
            place = there_twice(called[name], raw)._replace(hides=hides)
        files[name], called[name] = place, raw
    lost = {
        name: place.why
        for name, place in sorted(files.items())
        if _hides(place) and not is_picture(name)
    }
    return Listing({n: files[n] for n in sorted(files) if n not in lost}, lost, skipped)


def there_twice(first: str, second: str) -> Refused:
    """Refuse two files that would have one name, as nobody knows which of them is meant."""
    return Refused(f"is there twice, as {first!r} and {second!r}: keep one of them")


def _hides(place: Any) -> bool:
    return isinstance(place, Refused) and place.hides


def plain(name: str, root: object = "") -> str:
    """Return a path in its plainest form.

    The same letters may be written in two ways: macOS takes "u" and two dots for "ü", others one
    character. A mask would not be found for its image.

    >>> plain("./a//b.png")
    'a/b.png'

    Raises:
        UserError: it points outside the root.
    """
    if len(name) > MOST_CHARACTERS or name.count("/") > MOST_FOLDERS:
        raise UserError(f"{root}: the path {name[:99]!r}… is too long or too deep: shorten it")
    parts = name.split("/")
    if ".." in parts or name.startswith("/") or "\\" in name:
        raise UserError(
            f"{root}: {name!r} is no plain path below the data: rename the file, or pack the "
            "archive again, with relative paths and forward slashes"
        )
    path = "/".join(part for part in parts if part not in ("", "."))
    return unicodedata.normalize("NFC", path)


def _written(name: str) -> str:
    """Return a name as it can be shown, with a mark for each character that cannot."""
    if name.isascii() and name.isprintable():
        return name  # as nearly all are, and there may be a million
    return "".join(UNREADABLE if strange(c) else c for c in name)


def machine_part(name: str) -> str | None:
    """Return the part of a path that a system made, or that is hidden; None for the user's own.

    >>> machine_part("images/@eaDir/1.png/SYNOPHOTO_THUMB_M.png")
    '@eaDir'
    """
    return next((_called(part) for part in name.split("/") if is_machine(part)), None)


def is_machine(part: str) -> bool:
    """Return whether a folder or file of this name is hidden, or is the system's."""
    lower = part.lower()
    hidden = part.startswith(".") and part not in (".", "..")
    return hidden or lower in MACHINE_NAMES or lower.endswith(MACHINE_ENDINGS)


def _called(part: str) -> str:
    """Return one name for all that macOS puts beside each file, and for others their own."""
    return f"{APPLE_DOUBLE}*" if part.startswith(APPLE_DOUBLE) else _written(part)


def skipped_note(skipped: Mapping[str, int], most: int = 10) -> str:
    """Say in a sentence what was left out; nothing if nothing was.

    >>> skipped_note({".DS_Store": 2, "@eaDir": 75})
    'skipped 77 hidden files and files of the system: 75 for @eaDir, 2 for .DS_Store'
    """
    if not skipped:
        return ""
    counts = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{count} for {name}" for name, count in counts[:most]]
    rest = sum(count for _, count in counts[most:])
    total = sum(skipped.values())
    what = "hidden file or file" if total == 1 else "hidden files and files"
    return (
        f"skipped {total} {what} of the system: "
        f"{', '.join(named + [f'{rest} for others'] * bool(rest))}"
    )


class Listed(abc.ABC):
    """What all kinds of raw files share once they are listed."""

    _listing: Listing

    @abc.abstractmethod
    def _read(self, name: str, place: Any) -> bytes:
        """Return the bytes of a file that is at a place of the listing."""

    def read(self, name: str) -> bytes:
        place = self._place(name)
        try:
            return self._read(name, place)
        except MemoryError as error:  # it is this file that is too large, and not the others
            raise BadFile(shortage(error)) from error

    def names(self) -> list[str]:
        return list(self._listing.files)

    def skipped(self) -> Mapping[str, int]:
        return self._listing.skipped

    def lost(self) -> Mapping[str, str]:
        return self._listing.lost

    def _place(self, name: str) -> Any:
        """Return where the bytes of a file are; why a lost one has none is raised, too.

        Raises:
            BadFile: it is refused.
        """
        place = self._listing.files.get(name)
        why = place.why if isinstance(place, Refused) else self._listing.lost.get(name)
        if why is not None:
            raise BadFile(why)
        if place is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return place
