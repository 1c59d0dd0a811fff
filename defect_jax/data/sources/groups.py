"""Which images show the same part: groups.csv, and images that are copies of each other."""

import contextlib
import csv
import io
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from defect_jax.data.files.file_kinds import SUFFIXES
from defect_jax.data.files.lights import sha256_of
from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.files.reading import in_threads
from defect_jax.data.sources.folder_layout import SPLIT_NAMES, place_of
from defect_jax.data.sources.records import Fault, Record, listed

HEADER = ["id", "group"]


def read_pairs(
    raw: RawFiles, name: str, header: Sequence[str], faults: list[Fault]
) -> list[tuple[int, str, str]]:
    """Read number and both cells of each line, and add a fault for each line that is no such pair.

    Args:
        raw, name: the files, and which of them it is.
        header: of the two columns.
        faults: what is wrong is added.
    """
    where = raw.where(name)
    try:
        text = raw.read(name).decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except OSError as error:
        faults.append(Fault(where, f"cannot be read ({error}): make it readable"))
        return []
    except (UnicodeDecodeError, csv.Error) as error:
        faults.append(Fault(where, f"is no CSV file in UTF-8 ({error}): save it as such"))
        return []
    first = [cell.strip() for cell in rows[0]] if rows else []
    if [cell.lower() for cell in first] != list(header):
        faults.append(Fault(where, _other_header(",".join(first), header)))
        return []
    pairs = []
    for line, row in enumerate(rows[1:], 2):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) != 2 or not all(cells):
            what = f"is no pair {','.join(header)}: give both, no more"
            faults.append(Fault(f"{where}, line {line}", what))
        else:
            pairs.append((line, *cells))
    return pairs


def _other_header(first: str, header: Sequence[str]) -> str:
    if all(name in first.lower() for name in header):
        hint = "write that with a comma, and two columns in this order below it"
    else:
        hint = "add it"
    return f"begins with {first[:60]!r}, and not with the line {','.join(header)!r}: {hint}"


def resolve_ids(
    where: str,
    pairs: Iterable[tuple[int, str, str]],
    names: Mapping[str, str],
    may_be_unread: Callable[[str], bool],
    faults: list[Fault],
) -> dict[str, str]:
    """Return the group, or label, of each image by its id, and add a fault for each line that
    names none.

    An id may be written as people write them: with or without images/, the folder of the split and
    the suffix, with folders above, with backslashes. One that may mean several images is a fault.

    Args:
        where: the file, for messages.
        pairs: line, id as written, and group.
        names: path of each image below the root, by id.
        may_be_unread: says of an id that it may belong to a folder that is not read.
    """
    whole, short = _spellings(names)
    groups = {}
    for line, written, group in pairs:
        place, key = f"{where}, line {line}", _plain(written)
        found = whole.get(key) or short.get(key) or _below_others(key, whole)
        if len(found) > 1:
            what = f"{written!r} may be {listed(sorted(found))}: write the whole id"
            faults.append(Fault(place, what))
        elif not found:
            if not may_be_unread(key):
                what = f"lists {written!r}, but no image has that id: mend or remove it"
                faults.append(Fault(where, what))
        elif groups.setdefault(id := min(found), group) != group:
            faults.append(
                Fault(place, f"names {id!r} a second time, with another value: keep one line")
            )
    return groups


def _spellings(names: Mapping[str, str]) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Return which ids a way of writing may mean: whole paths, and those without some folders."""
    whole, short = defaultdict(set), defaultdict(set)
    for id, name in names.items():
        for path in map(_plain, (id, name)):
            whole[path].add(id)
            for shorter in _without_folders(path):
                short[shorter].add(id)
    return whole, short


def _without_folders(path: str) -> list[str]:
    """Return a path without images/, and without the split's folder before or after that too;
    nothing for one that is not below images/, as inputs of a prediction may be.

    >>> _without_folders("train/images/a/1")
    ['train/a/1', 'a/1']
    >>> _without_folders("images/train/1")
    ['train/1', '1']
    """
    place = place_of(path)
    if place is None:
        return []
    if not place.split:
        return [place.rest]
    split = next(part for part in place.home.split("/") if part.lower() in SPLIT_NAMES)
    return [f"{split}/{place.rest}", place.rest]


def _below_others(key: str, whole: Mapping[str, set[str]]) -> set[str]:
    """Look for a whole path below folders that are not part of the data, such as the root's."""
    while "/" in key:
        key = key.partition("/")[2]
        if key in whole:
            return whole[key]
    return set()


def _plain(written: str) -> str:
    """Return an id with forward slashes, composed letters, and a suffix in small letters."""
    path = unicodedata.normalize("NFC", written).replace("\\", "/").strip()
    path = path.removeprefix("./").strip("/")
    stem, _, suffix = path.rpartition(".")
    return f"{stem}.{suffix.lower()}" if f".{suffix.lower()}" in SUFFIXES else path


def straddling(where: str, records: Iterable[Record]) -> list[Fault]:
    """Find groups in more than one of the splits that folders fix."""
    places = defaultdict(set)
    for record in records:
        places[record.group].add(record.split)
    what = "group {!r} is in {}: images of one group belong into one split"
    return [
        Fault(where, what.format(group, " and ".join(f"{split}/" for split in sorted(splits))))
        for group, splits in places.items()
        if len(splits) > 1
    ]


def copies(raw: RawFiles, records: Sequence[Record]) -> list[list[Record]]:
    """Find the images whose files are the same byte for byte, each set in order of ids.

    Only files of the same size are read, since almost no two compressed ones have one.
    """
    by_size = defaultdict(list)
    for record in records:
        with contextlib.suppress(OSError):  # its own fault is found when it is examined
            by_size[sum(map(raw.size, record.files))].append(record)
    alike = [record for same in by_size.values() if len(same) > 1 for record in same]
    if not alike:
        return []

    def digest(record: Record) -> str | None:
        with contextlib.suppress(OSError):
            return sha256_of([raw.read(name) for name in record.files])

    by_digest = defaultdict(list)
    for record, sha256 in zip(alike, in_threads(digest, alike, "Comparing files"), strict=True):
        if sha256 is not None:
            by_digest[sha256].append(record)
    sets = [sorted(same, key=lambda r: r.id) for same in by_digest.values() if len(same) > 1]
    return sorted(sets, key=lambda same: same[0].id)


def with_copies(records: Sequence[Record], sets: Iterable[Sequence[Record]]) -> list[Record]:
    """Make one group of the groups that share an image.

    It keeps the name of the group of its first id. So a copy that is added goes where its original
    is; only one whose id comes before the original's, or that joins two groups, renames a group,
    and may move it to another split. All other images stay where they are.
    """
    joined = joined_groups(records, [[record.group for record in same] for same in sets])
    return [replace(record, group=joined.get(record.group, record.group)) for record in records]


def joined_groups(records: Sequence[Record], sets: Iterable[Sequence[str]]) -> dict[str, str]:
    """Return the name that each group has once the groups of each set are one."""
    names = list(dict.fromkeys(r.group for r in sorted(records, key=lambda record: record.id)))
    number = {name: place for place, name in enumerate(names)}
    edges = [(number[same[0]], number[other]) for same in sets for other in same[1:]]
    first = {}
    labels = connected(len(names), np.array(edges, np.int64).reshape(-1, 2))
    return {name: first.setdefault(label, name) for name, label in zip(names, labels, strict=True)}


def connected(count: int, edges: Int64[np.ndarray, "e 2"]) -> list[int]:
    """Return for each of `count` things the number of the set that edges make of it and others."""
    graph = coo_array((np.ones(len(edges), np.int8), edges.T), (count, count))
    return connected_components(graph, directed=False)[1].tolist()
