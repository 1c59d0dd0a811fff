"""Which picture an annotation means: paths in it were written on another machine, in another way.

The picture is looked for below the input alone. The folders that a path shares with it, from the
end, decide; where they leave two, nobody guesses.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from defect_jax.data.annotations.entries import Entry
from defect_jax.data.sources.records import listed

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
LOCAL_FILES = "/data/local-files/"  # of Label Studio, which names the file behind "?d="
UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of an upload
NOWHERE = "no such picture is below the input: put it there, or give the folder that holds both"


class Found(NamedTuple):
    """An entry with its picture among the raw files; "" where the annotation holds it itself."""

    entry: Entry
    picture: str


def find_pictures(
    entries: Sequence[Entry], pictures: Iterable[str]
) -> tuple[list[Found], list[Entry]]:
    """Return the entries whose picture is certain, and the others, each with its fault.

    Where several entries would have one picture, the one whose path fits best has it.
    """
    by_name = _by_name(pictures)
    found, lost, claims = [], [], defaultdict(list)
    for entry in entries:
        best, shared = _best(entry, by_name)
        if len(best) == 1:
            claims[best[0]].append((shared, entry))
        elif entry.embedded:
            found.append(Found(entry, ""))
        elif best:
            what = f"may be {listed(sorted(best), 3)}: give the folder that holds one of them"
            lost.append(entry._replace(fault=what))
        else:
            lost.append(entry._replace(fault=entry.fault or NOWHERE))
    for picture, claimed in claims.items():
        winner, losers = _settled(claimed)
        lost += losers
        found += [Found(winner, picture)] if winner else []
    return found, lost


def _settled(claimed: Sequence[tuple[int, Entry]]) -> tuple[Entry | None, list[Entry]]:
    """Return the entry whose path fits a picture best, and the others with their faults."""
    most = max(shared for shared, _ in claimed)
    best = [entry for shared, entry in claimed if shared == most]
    others = [entry._replace(fault=NOWHERE) for shared, entry in claimed if shared < most]
    if len(best) == 1:
        return best[0], others
    what = f"is annotated {len(best)} times: keep one, or name its file as --input"
    return None, [best[0]._replace(fault=what), *others]


def path_parts(written: str) -> list[str]:
    r"""Return the folders and the file of a path, whoever wrote it.

    >>> path_parts(r"C:\parts\line 1\..\a.png"), path_parts("/data/local-files/?d=x%2Fa%20b.png")
    (['parts', 'a.png'], ['x', 'a b.png'])
    """
    path = written.strip()
    if LOCAL_FILES in path:
        path = parse_qs(urlsplit(path).query).get("d", [""])[0]
    elif ADDRESS.match(path):
        path = unquote(urlsplit(path).path)
    path = re.sub(r"^[A-Za-z]:", "", unicodedata.normalize("NFC", path).replace("\\", "/"))
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _by_name(pictures: Iterable[str]) -> dict[str, list[list[str]]]:
    """Return the paths of all pictures by the name of their file, in small letters."""
    by_name = defaultdict(list)
    for picture in pictures:
        parts = picture.split("/")
        by_name[parts[-1].lower()].append(parts)
    return by_name


def _best(entry: Entry, by_name: dict[str, list[list[str]]]) -> tuple[list[str], int]:
    """Return the pictures that fit a path best, and how many of its parts they share with it."""
    beside = [*entry.where.split("/")[:-1], *path_parts(entry.written)]
    for parts in _spellings(entry.written):
        shared = {
            "/".join(other): _shared(parts, other) for other in by_name.get(parts[-1].lower(), ())
        }
        for whole in ("/".join(beside), "/".join(parts)):
            if whole in shared:
                return [whole], 1000 + len(parts)
        most = max(shared.values(), default=0)
        best = [name for name, count in shared.items() if count == most]
        if best:
            return best, most
    return [], 0


def _spellings(written: str) -> Iterable[list[str]]:
    """Yield the path as it is written, then without what programs put into it."""
    for text in dict.fromkeys((written, unquote(written))):
        parts = path_parts(text)
        if parts:
            yield parts
            if UPLOADED.match(parts[-1]):
                yield [*parts[:-1], UPLOADED.sub("", parts[-1])]


def _shared(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many parts two paths share from the end, whatever their capitals."""
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one.lower() != other.lower():
            break
        count += 1
    return count
