"""Grouped, seeded splits that stay as they are when the data set grows, on every machine.

Images of one part are near copies of each other, so a group is one unit and never straddles. A
group's split follows from its name and the seed alone: a group that is added, removed or found to
be defective after all moves no other one, so that no image that a network has learnt turns up in a
later test. The shares are therefore met on average and not to the image: of 100 groups, 20 ± 4
come into a split of a fifth.
"""

import hashlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import accumulate, pairwise
from typing import NamedTuple

from defect_jax.data.sources.records import GOOD

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
HOLD_OUT_SHARES = {"train": 0.8, "val": 0.2}


class Member(NamedTuple):
    """One image to be put into a split."""

    id: str
    group: str
    class_name: str
    masked: bool = True


def grouped_split(
    members: Iterable[Member], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Put every image into a split: whole groups, each by its own name.

    Good groups, those with a defect that is drawn, and those with one that is not are spread alike,
    since the name knows nothing of either.

    There is one exception. A split without a good group, or without one that has a defect, cannot
    be judged: where there are at least as many groups of that kind as splits, it takes the one
    that came nearest to it, and gives it back once it has one of its own. With 30
    groups of a kind this happens once in 400 times, with 60 once in 300,000.

    Args:
        members: the images, in any order, with unique ids.
        shares: share of the groups for each split; they add up to 1.
        seed: another seed gives another split.

    Returns:
        The split of each image, by its id.
    """
    groups = defaultdict(list)
    for member in members:
        groups[member.group].append(member)
    places: dict[str, dict[str, float]] = defaultdict(dict)
    for group, inside in groups.items():
        places[_kind(inside)][group] = place_of(group, seed)
    split_of_group = {
        group: split
        for of_kind in places.values()
        for group, split in _by_place(of_kind, shares).items()
    }
    return {m.id: split_of_group[group] for group, inside in groups.items() for m in inside}


def _kind(inside: Iterable[Member]) -> str:
    """Return what a group is to a judge: good, with a defect that is drawn, or one that is not."""
    defective = [member for member in inside if member.class_name != GOOD]
    if not defective:
        return GOOD
    return "drawn" if any(member.masked for member in defective) else "not drawn"


def place_of(group: str, seed: int) -> float:
    """Return a number from 0 to below 1 that is the group's own, the same on every machine.

    SHA-256, and no random generator, whose stream may change between versions.
    """
    digest = hashlib.sha256(f"{seed}\n{group}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # 53 bits: exact as a float


def _by_place(places: Mapping[str, float], shares: Mapping[str, float]) -> dict[str, str]:
    """Return the split of each group of one kind: the one in whose interval it lies."""
    names, bounds = list(shares), [0.0, *accumulate(shares.values())]
    inside: dict[str, set[str]] = {name: set() for name in names}
    for group, place in places.items():
        inside[names[bisect_right(bounds[1:-1], place)]].add(group)
    if len(places) >= len(names):
        for name, (start, end) in zip(names, pairwise(bounds), strict=True):
            if not inside[name]:
                _borrow(name, start, end, inside, places)
    return {group: name for name, groups in inside.items() for group in groups}


def _borrow(
    name: str, start: float, end: float, inside: dict[str, set[str]], places: Mapping[str, float]
) -> None:
    """Move the group that is nearest to an empty split's interval, from a split with several."""
    spare = [
        (group, other) for other, groups in inside.items() if len(groups) > 1 for group in groups
    ]

    def distance(candidate: tuple[str, str]) -> tuple[float, str]:
        place = places[candidate[0]]
        return max(start - place, place - end), candidate[0]

    group, other = min(spare, key=distance)
    inside[other].remove(group)
    inside[name].add(group)
