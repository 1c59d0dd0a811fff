"""A prepared set whose images are put into other splits than those it was stored with."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from defect_jax.data.prepare.prepared import Prepared, Split


@dataclasses.dataclass(frozen=True)
class Gathered:
    """Elements of several sources as one: random access, and may be pickled as those may.

    Attributes:
        sources: of stored splits.
        places: of each element: which source, and where in it.
    """

    sources: tuple[Any, ...]
    places: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Any:
        source, place = self.places[index]
        return self.sources[source][place]


def with_splits(prepared: Prepared, split_of: Mapping[str, str], wanted: Iterable[str]) -> Prepared:
    """Return the set with the wanted splits, each of the images that `split_of` puts there.

    Args:
        prepared: as it was stored.
        split_of: id -> split. What it does not name is in no split of what is returned.
        wanted: the splits to have; one that holds what it was stored with stays as it is.
    """
    return dataclasses.replace(
        prepared, splits={split: _split(prepared, split_of, split) for split in wanted}
    )


def _split(prepared: Prepared, split_of: Mapping[str, str], wanted: str) -> Split:
    stored = list(prepared.splits.values())
    found = [
        (row, (number, place))
        for number, split in enumerate(stored)
        for place, row in enumerate(split.rows)
        if split_of.get(row.id) == wanted
    ]
    found.sort(key=lambda one: one[0].id)
    rows = [row for row, _ in found]
    if wanted in prepared.splits and rows == prepared.splits[wanted].rows:
        return prepared.splits[wanted]
    sources = tuple(split.source for split in stored)
    return Split(Gathered(sources, tuple(place for _, place in found)), rows)
