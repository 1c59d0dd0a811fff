"""A prepared set dealt out to folds: all of it that no release and no user has set aside as test.

A set that is dealt out has the splits `fold_0`, `fold_1`, … and `test`, which may be empty.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from defect_jax.data.prepare.prepared import Prepared, Split
from defect_jax.data.prepare.reassigned import with_splits
from defect_jax.data.sources.data_sets import data_set
from defect_jax.data.sources.folder import NO_VAL
from defect_jax.data.sources.folds import assigned_folds, class_of_groups
from defect_jax.data.sources.records import GOOD, listed
from defect_jax.data.sources.splits import Member

FOLD = "fold_"  # before its number, in split.csv
OUT_OF_FOLD = "folds"  # all folds together, as a split
NEAR_DUPLICATES = "look like an image of train"  # how a note about the splits of the set ends


def fold_name(number: int) -> str:
    """Return what a fold is called as a split.

    >>> fold_name(0), is_fold("fold_0"), is_fold("fold_x"), is_fold("test")
    ('fold_0', True, False, False)
    """
    return f"{FOLD}{number}"


def is_fold(split: str) -> bool:
    """Return whether this is the name of a fold."""
    return split.startswith(FOLD) and split.removeprefix(FOLD).isdecimal()


def folds_of(names: Collection[str]) -> list[str]:
    """Return the folds among the names of splits, in order of their numbers."""
    return sorted(filter(is_fold, names), key=lambda name: int(name.removeprefix(FOLD)))


def dealt_out(prepared: Prepared, data: ConfigDict) -> Prepared:
    """Return a set in folds, where `data.folds` asks for them; else as it is.

    Args:
        prepared: as it was stored, whole.
        data: `config.data`.

    Raises:
        UserError: there are too few parts for so many folds.
    """
    if not data.folds:
        return prepared
    split_of = fold_of_images(prepared, data)
    names = [fold_name(number) for number in range(data.folds)]
    return in_splits(prepared, split_of, [*names, "test"])


def in_splits(prepared: Prepared, split_of: Mapping[str, str], names: Collection[str]) -> Prepared:
    """Return a set in these splits; of folds with notes that say what is true of them.

    Args:
        prepared: as it was stored.
        split_of: id -> split.
        names: of the splits to have; a test split of folds may have no image.
    """
    dealt = with_splits(prepared, split_of, names)
    if not any(map(is_fold, split_of.values())):
        return dealt
    straddling = _on_both_sides(dealt)
    notes = [*_notes(prepared.info.notes), *_leaks(straddling)]
    info = dataclasses.replace(prepared.info, leaking=bool(straddling), notes=notes)
    return dataclasses.replace(dealt, info=info)


def fold_of_images(prepared: Prepared, data: ConfigDict) -> dict[str, str]:
    """Return id -> the name of its fold, or "test".

    Raises:
        UserError: as `dealt_out`.
    """
    is_in_test = data_set(data.name).is_in_fixed_test
    rows = [row for split in prepared.splits.values() for row in split.rows]
    pool = [row for row in rows if not is_in_test(row.id)]
    members = [
        Member(r.id, r.group, r.class_name if r.label else GOOD, bool(r.masked)) for r in pool
    ]
    fold_of = assigned_folds(class_of_groups(members), data.folds, data.seed)
    return dict.fromkeys((row.id for row in rows), "test") | {
        row.id: fold_name(fold_of[row.group]) for row in pool
    }


def pooled(dealt: Prepared) -> Prepared:
    """Return all folds as the training split, for what is one for all networks: facts and plan.

    The first fold stands for what a network validates on.
    """
    names = folds_of(dealt.splits)
    split_of = {row.id: "train" for name in names for row in dealt.splits[name].rows}
    train = with_splits(dealt, split_of, ["train"]).splits["train"]
    splits = {"train": train, "val": dealt.splits[names[0]], "test": dealt.splits["test"]}
    return dataclasses.replace(dealt, splits=splits)


def held_out(dealt: Prepared, number: int) -> Prepared:
    """Return the data of one network: it trains on all folds but one, and validates on that."""
    names = folds_of(dealt.splits)
    split_of = {
        row.id: "val" if name == fold_name(number) else "train"
        for name in names
        for row in dealt.splits[name].rows
    }
    return with_splits(dealt, split_of, ["train", "val"])


def out_of_fold(dealt: Prepared) -> Split:
    """Return the images of all folds as one split, fold after fold."""
    folds = [dealt.splits[name] for name in folds_of(dealt.splits)]
    return Split(Chained(folds), [row for fold in folds for row in fold.rows])


def in_words(dealt: Prepared) -> str:
    """Return how many networks are trained, and what parts each of them has not seen."""
    names = folds_of(dealt.splits)
    parts = [len({row.group for row in dealt.splits[n].rows}) for n in names]
    defective = [len({r.group for r in dealt.splits[n].rows if r.label}) for n in names]
    return (
        f"folds: {len(names)} networks are trained, minutes and steps are those of each, on all "
        f"parts but those of one fold: {', '.join(map(str, parts))} parts, of them "
        f"{', '.join(map(str, defective))} defective"
    )


class Chained:
    """The elements of several splits, one after the other: random access."""

    def __init__(self, splits: Iterable[Split]):
        self._elements = [(split.source, row) for split in splits for row in range(len(split.rows))]

    def __len__(self) -> int:
        return len(self._elements)

    def __getitem__(self, index: int) -> Any:
        source, row = self._elements[index]
        return source[row]


def _on_both_sides(dealt: Prepared) -> list[str]:
    """Return the groups with images in a fold and in the test split."""
    places: Mapping[str, set[str]] = defaultdict(set)
    for name, split in dealt.splits.items():
        for row in split.rows:
            places[row.group].add(name)
    return sorted(group for group, names in places.items() if len(names) > 1)


def _leaks(straddling: list[str]) -> Iterator[str]:
    if straddling:
        shown = listed(straddling, most=3)
        yield f"leaking: {len(straddling)} parts are in the folds and in the test split: {shown}"


def _notes(notes: Iterable[str]) -> Iterator[str]:
    """Yield notes without what they say of splits that the folds replace."""
    for note in notes:
        if note.endswith(NEAR_DUPLICATES):
            start = "leaking, as it seems: " if note.startswith("leaking") else ""
            yield f"{start}images that look alike and are no group may be in different folds"
        elif note != NO_VAL:
            yield note
