"""Grouped, stratified, seeded splits that come out the same on every machine.

Images of one part are near copies of each other, so a group is one unit and never straddles. The
order in which groups are dealt out comes from SHA-256, not from a random generator, whose stream
may change between versions.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from defect_jax.data.sources.records import GOOD

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
HOLD_OUT_SHARES = {"train": 0.8, "val": 0.2}


class Member(NamedTuple):
    """One image to be put into a split."""

    id: str
    group: str
    class_name: str


def grouped_split(
    members: Iterable[Member], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Put every image into a split: whole groups, the same mix of classes in each split.

    The groups of one class are dealt out in an order that depends on the seed alone, each to the
    split that is furthest below its share. What one kind of defect leaves uneven, the next makes
    up for. A class with at least as many groups as there are splits reaches every split, and so do
    the defective groups taken together.

    Args:
        members: the images, in any order, with unique ids.
        shares: share of the images for each split; they add up to 1.
        seed: another seed deals the groups out differently.

    Returns:
        The split of each image, by its id.
    """
    groups = defaultdict(list)
    for member in members:
        groups[member.group].append(member)
    good, defective = {}, defaultdict(dict)
    for group, inside in groups.items():
        class_name = _group_class([member.class_name for member in inside])
        stratum = good if class_name == GOOD else defective[class_name]
        stratum[group] = len(inside)
    split_of_group = _deal({GOOD: good}, shares, seed) | _deal(defective, shares, seed)
    return {m.id: split_of_group[group] for group, inside in groups.items() for m in inside}


def _group_class(class_names: list[str]) -> str:
    """Return the commonest defect of a group, ties by name; GOOD where no image has one."""
    counts = Counter(name for name in class_names if name != GOOD)
    return min(counts, key=lambda name: (-counts[name], name)) if counts else GOOD


def _deal(
    strata: Mapping[str, Mapping[str, int]], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Return the split of each group; `strata` holds the sizes of the groups of each class."""
    missing = dict.fromkeys(shares, 0.0)
    dealt = {split: [] for split in shares}
    for class_name, sizes in sorted(strata.items()):
        for split, groups in _deal_class(class_name, sizes, shares, missing, seed).items():
            inside = sum(sizes[group] for group in groups)
            missing[split] += shares[split] * sum(sizes.values()) - inside
            dealt[split] += groups
    _reach_every_split(dealt, {g: size for sizes in strata.values() for g, size in sizes.items()})
    return {group: split for split, groups in dealt.items() for group in groups}


def _deal_class(
    class_name: str,
    sizes: Mapping[str, int],
    shares: Mapping[str, float],
    missing_before: Mapping[str, float],
    seed: int,
) -> dict[str, list[str]]:
    def order(group: str) -> bytes:
        return hashlib.sha256(f"{seed}\n{class_name}\n{group}".encode()).digest()

    images = sum(sizes.values())
    missing = {split: missing_before[split] + share * images for split, share in shares.items()}
    dealt = {split: [] for split in shares}
    for group in sorted(sizes, key=order):
        # Rounded, since 0.6 * 5 - 3 is not 0 in floating point and ties must go the same way
        # everywhere; the first split named wins a tie.
        split = max(missing, key=lambda name: round(missing[name], 6))
        missing[split] -= sizes[group]
        dealt[split].append(group)
    _reach_every_split(dealt, sizes)
    return dealt


def _reach_every_split(dealt: dict[str, list[str]], sizes: Mapping[str, int]) -> None:
    """Hand the smallest group of the richest split to a split that got none, where it can."""
    for inside in dealt.values():
        richest = max(dealt.values(), key=len)
        if not inside and len(richest) > 1:
            smallest = min(richest, key=lambda group: (sizes[group], group))
            richest.remove(smallest)
            inside.append(smallest)
