"""What was prepared before, found again: by what it was made from, or by what it holds."""

import csv
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from defect_jax.data.prepare import prepared


class EarlierSet(NamedTuple):
    """A prepared set in the cache.

    Attributes:
        origin: layout, options, state of the raw files and splits that it was made from.
        fingerprint: of what it holds, see `prepared.DataInfo`.
    """

    directory: Path
    origin: dict[str, Any]
    fingerprint: str

    @property
    def age_ns(self) -> int:
        return -self.directory.stat().st_mtime_ns


def earlier_sets(home: Path, needed: Collection[str]) -> Iterator[EarlierSet]:
    """Yield the sets of one data set that hold the needed splits and can be read."""
    for directory in sorted(home.glob("[!.]*")):
        found = prepared.read_origin(directory)
        if found is not None and set(needed) <= set(found[0]["splits"]):
            yield EarlierSet(directory, *found)


def best_substitute(
    home: Path, layout: int, options: dict[str, Any], needed: Collection[str], wanted: str | None
) -> EarlierSet | None:
    """Return the set to use where the raw files are gone, or None.

    Args:
        layout: of the sets that can be read.
        options: what was asked for.
        needed: the splits that it has to hold.
        wanted: fingerprint of the set that a network was trained on. Such a set is taken whatever
            its root was called; else it is the newest that was prepared from this root.
    """
    usable = [one for one in earlier_sets(home, needed) if one.origin["layout"] == layout]
    same = [
        one
        for one in usable
        if one.fingerprint == wanted and _rootless(one.origin["options"]) == _rootless(options)
    ]
    of_root = [one for one in usable if one.origin["options"] == options]
    return min(same or of_root, key=lambda one: one.age_ns, default=None)


def split_before(
    home: Path, layout: int, options: dict[str, Any], needed: Collection[str], fingerprint: str
) -> list[dict[str, str]] | None:
    """Return the lines of split.csv of a set of an older layout, or None where there is none.

    They tell how a network's images were split by a version that kept no split in the workdir.

    Args:
        layout: of today; older ones had other splits of the same images.
        fingerprint: of the set that the network was trained on.
    """
    for one in earlier_sets(home, needed):
        is_older = one.origin["layout"] < layout and one.fingerprint == fingerprint
        # Of options that are younger it knows nothing: it was made as by their defaults.
        if is_older and _rootless(one.origin["options"]).items() <= options.items():
            with (one.directory / prepared.SPLIT_FILE).open(encoding="utf-8", newline="") as file:
                return list(csv.DictReader(file))
    return None


def _rootless(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "root"}
