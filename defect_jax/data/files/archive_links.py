"""Links inside an archive, followed as a system would that had unpacked it."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from defect_jax.data.files.bounded import BadFile
from defect_jax.data.files.raw_names import Refused, plain, there_twice
from defect_jax.runtime.errors import UserError

MOST_LINKS = 40  # in one path, as Linux has it
MOST_BY_LINKS = 1_000_000  # what links to folders lead to; a few links can lead to very many
MEND = "pack it again with the files themselves"


class Damaged(ValueError):
    """The archive cannot be read; the message says what is wrong with it."""


class Member(NamedTuple):
    """A file or a link of an archive; folders are known by what is in them."""

    name: str  # as the archive has it
    place: Any = None  # of a file: what its reader needs, or `Refused`
    target: str | None = None  # of a link: a path from the archive's top

    @classmethod
    def hard_link(cls, name: str, target: str) -> "Member":
        """Return another name of a member that is called `target`."""
        if target.startswith("/"):
            return cls(name, Refused(f"is a link to {target!r}, outside the archive: {MEND}", True))
        return cls(name, target=target)

    @classmethod
    def symbolic_link(cls, name: str, target: str) -> "Member":
        """Return a link to a path that is told from the link's own folder."""
        if target.startswith("/"):
            return cls.hard_link(name, target)
        return cls(name, target=f"{name.rpartition('/')[0]}/{target}")


def resolved(members: Iterable[Member], root: object) -> Iterator[tuple[str, Any]]:
    """Yield the names of all files, and where their bytes are or why they are refused.

    What a link leads to is yielded under the link's name, too: all of it, if that is a folder.

    Args:
        root: the archive's name, for messages.

    Raises:
        UserError: a name points outside the archive; or the links lead to too many files.
    """
    members = list(members)
    if all(member.target is None for member in members):
        yield from ((member.name, member.place) for member in members)
    else:
        yield from _Tree(members, root).walk()


class _Tree:
    """The members by their plain names, and by the folders they are in."""

    def __init__(self, members: Iterable[Member], root: object):
        self._root, self._by_links = root, 0
        self._members: dict[str, Member] = {}
        self._below: dict[str, dict[str, None]] = defaultdict(dict)  # an ordered set a folder
        self._nameless: list[Member] = []
        for member in members:
            name = plain(member.name, root)
            if not name:
                self._nameless.append(member)
            elif name in self._members:
                self._members[name] = Member(
                    name, there_twice(self._members[name].name, member.name)
                )
            else:
                self._members[name] = member
                self._add(name)

    def _add(self, path: str) -> None:
        while path:
            folder, _, last = path.rpartition("/")
            self._below[folder][last] = None
            path = folder

    def walk(self) -> Iterator[tuple[str, Any]]:
        yield from ((member.name, member.place) for member in self._nameless)
        todo = [("", "", ("",))]  # a folder, how it is called, and the folders above it
        while todo:
            folder, called, above = todo.pop()
            for last in self._below[folder]:
                path, name = _joined(folder, last), _joined(called, last)
                self._count(path != name)
                member, target = self._members.get(path), path
                if member is not None and path in self._below:
                    yield name, Refused("is a file and a folder at once: pack it again", True)
                elif member is not None:
                    target = self._target(path, member)
                if isinstance(target, Refused):
                    yield name, target
                elif target not in self._below:
                    shown = member.name if name == path else name
                    yield shown, self._members[target].place
                elif target == path or not _leads_back(target, above):
                    todo.append((target, name, (*above, target)))

    def _target(self, path: str, member: Member) -> str | Refused:
        """Return the plain name of the file or folder that a member is, or leads to."""
        if member.target is None:
            return path
        try:
            target = self._followed(member.target)
        except BadFile as error:
            return Refused(f"is a link to {member.target!r}, which {error}: {MEND}", True)
        if target in self._members or target in self._below:
            return target
        return Refused(f"is a link to {target!r}, which is not in the archive: {MEND}", True)

    def _followed(self, target: str) -> str:
        """Return a path without links, as the system that had unpacked all members.

        Raises:
            BadFile: it leads out of the archive, or in a circle.
        """
        todo, done, links = _parts(target), [], 0
        while todo:
            part = todo.pop()
            if part == ".." and not done:
                raise BadFile("leads out of the archive")
            if part == "..":
                done.pop()
                continue
            done.append(part)
            member = self._members.get("/".join(done))
            if member is not None and member.target is not None:
                links += 1
                if links > MOST_LINKS:
                    raise BadFile("leads in a circle")
                todo += _parts(member.target)
                done = []
        return "/".join(done)

    def _count(self, by_link: bool) -> None:
        self._by_links += by_link
        if self._by_links > MOST_BY_LINKS:
            raise UserError(
                f"{self._root}: its links to folders lead to more than {MOST_BY_LINKS:,} files: "
                f"{MEND}"
            )


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _parts(path: str) -> list[str]:
    """Return the parts of a path, the first one last."""
    parts = unicodedata.normalize("NFC", path).split("/")
    return [part for part in reversed(parts) if part not in ("", ".")]


def _leads_back(target: str, above: tuple[str, ...]) -> bool:
    """Return whether a folder is one of those above, or holds one: it would be walked for ever."""
    return any(f"{folder}/".startswith(f"{target}/") for folder in above)
